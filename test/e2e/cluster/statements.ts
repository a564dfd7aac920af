/**
 * What applications send beside rows: definitions in every algorithm, accounts, what lives in a session. Each list is one session.
 * `{db}` is the schema of the test.
 */
export const DEFINITIONS: readonly string[] = [
  'CREATE TABLE {db}.ddl (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(50), g POINT, j JSON)',
  `INSERT INTO {db}.ddl (a, b, g, j) VALUES (1, 'x', POINT(1, 2), '{"k": [1, 2]}'), (2, 'y', NULL, NULL)`,
  'ALTER TABLE {db}.ddl ADD COLUMN c INT DEFAULT 7, ALGORITHM=INSTANT',
  'ALTER TABLE {db}.ddl ADD INDEX (a), ADD INDEX (b), ALGORITHM=INPLACE, LOCK=NONE',
  'ALTER TABLE {db}.ddl MODIFY a BIGINT, ALGORITHM=COPY',
  'ALTER TABLE {db}.ddl ADD COLUMN twice BIGINT AS (a * 2) STORED',
  'ALTER TABLE {db}.ddl DROP COLUMN c, ALGORITHM=INSTANT',
  "UPDATE {db}.ddl SET j = JSON_SET(j, '$.k[0]', 9) WHERE id = 1",
  'CREATE TABLE {db}.selected (PRIMARY KEY (id)) AS SELECT id, a, b FROM {db}.ddl',
  'RENAME TABLE {db}.selected TO {db}.renamed',
  'CREATE TABLE {db}.parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)',
  'INSERT INTO {db}.parts VALUES (1), (2), (50)',
  'ALTER TABLE {db}.parts TRUNCATE PARTITION p0',
  'CREATE VIEW {db}.v AS SELECT id, a FROM {db}.ddl',
  'CREATE FUNCTION {db}.f(x INT) RETURNS INT DETERMINISTIC RETURN x + 1',
  'CREATE PROCEDURE {db}.p(n INT) INSERT INTO {db}.parts VALUES (n)',
  'CALL {db}.p({db}.f(60))',
  'CREATE TABLE {db}.audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(50), at TIMESTAMP(6) DEFAULT NOW(6))',
  "CREATE TRIGGER {db}.t AFTER INSERT ON {db}.parts FOR EACH ROW INSERT INTO {db}.audit (what) VALUES (CONCAT('part ', NEW.id))",
  'INSERT INTO {db}.parts VALUES (70), (71)',
  'ANALYZE TABLE {db}.ddl',
  'TRUNCATE TABLE {db}.renamed',
  'DROP VIEW {db}.v',
];

export const ACCOUNTS: readonly string[] = [
  "CREATE USER '{db}_u'@'%' IDENTIFIED BY 'one'",
  "GRANT SELECT, INSERT ON {db}.* TO '{db}_u'@'%'",
  "CREATE ROLE '{db}_r'",
  "GRANT UPDATE ON {db}.* TO '{db}_r'",
  "GRANT '{db}_r' TO '{db}_u'@'%'",
  "ALTER USER '{db}_u'@'%' IDENTIFIED BY 'two'",
  "REVOKE INSERT ON {db}.* FROM '{db}_u'@'%'",
];

export const SESSION: readonly string[] = [
  'CREATE TABLE {db}.kept (id INT PRIMARY KEY, v VARCHAR(20))',
  'CREATE TEMPORARY TABLE {db}.scratch (id INT PRIMARY KEY, v VARCHAR(20))',
  "INSERT INTO {db}.scratch VALUES (1, 'a'), (2, 'b')",
  'BEGIN',
  'INSERT INTO {db}.kept SELECT * FROM {db}.scratch',
  'SAVEPOINT one',
  "INSERT INTO {db}.kept VALUES (3, 'gone')",
  'SAVEPOINT two',
  "INSERT INTO {db}.kept VALUES (4, 'gone')",
  'ROLLBACK TO SAVEPOINT one',
  "INSERT INTO {db}.kept VALUES (5, 'c')",
  'COMMIT',
  'BEGIN',
  "INSERT INTO {db}.kept VALUES (6, 'gone')",
  "UPDATE {db}.scratch SET v = 'z'",
  'ROLLBACK',
  'DROP TEMPORARY TABLE {db}.scratch',
  "REPLACE INTO {db}.kept VALUES (1, 'replaced')",
  "INSERT INTO {db}.kept VALUES (2, 'b') ON DUPLICATE KEY UPDATE v = 'updated'",
];
