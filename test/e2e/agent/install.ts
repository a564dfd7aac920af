import { findMysqld } from '../../../deploy/mysql-provision.ts';

const install = await findMysqld({ env: process.env, progress() {} });
export const testMysqlInstall = () => install;
