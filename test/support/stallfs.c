/*
 * A FUSE file system that shows one directory at another place and can be made to stall: while the file named by the environment
 * variable STALLFS_STALL exists, no operation ends. To the kernel and to the processes that use it that is a disk that hangs.
 *
 *   STALLFS_ROOT=/real STALLFS_STALL=/switch stallfs -f /mountpoint
 *
 * Built with: cc -O2 -o stallfs stallfs.c $(pkg-config --cflags --libs fuse3)
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <unistd.h>

static const char *root;
static const char *stall;

static void wait_while_stalled(void) {
  while (access(stall, F_OK) == 0) usleep(10000);
}

/* The path below the real directory, after any stall. */
struct real { char path[PATH_MAX]; };
static struct real real_of(const char *path) {
  struct real real;
  wait_while_stalled();
  snprintf(real.path, sizeof real.path, "%s%s", root, path);
  return real;
}
#define REAL(path) real_of(path).path

static int result(int outcome) { return outcome == -1 ? -errno : outcome; }

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi) {
  if (fi != NULL) { wait_while_stalled(); return result(fstat(fi->fh, st)); }
  return result(lstat(REAL(path), st));
}
static int fs_readlink(const char *path, char *buffer, size_t size) {
  ssize_t length = readlink(REAL(path), buffer, size - 1);
  if (length == -1) return -errno;
  buffer[length] = 0;
  return 0;
}
static int fs_mknod(const char *path, mode_t mode, dev_t dev) { return result(mknod(REAL(path), mode, dev)); }
static int fs_mkdir(const char *path, mode_t mode) { return result(mkdir(REAL(path), mode)); }
static int fs_unlink(const char *path) { return result(unlink(REAL(path))); }
static int fs_rmdir(const char *path) { return result(rmdir(REAL(path))); }
static int fs_symlink(const char *target, const char *path) { return result(symlink(target, REAL(path))); }
static int fs_rename(const char *from, const char *to, unsigned int flags) {
  struct real a = real_of(from), b = real_of(to);
  return result(renameat2(AT_FDCWD, a.path, AT_FDCWD, b.path, flags));
}
static int fs_link(const char *from, const char *to) {
  struct real a = real_of(from), b = real_of(to);
  return result(link(a.path, b.path));
}
static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *fi) {
  (void)fi;
  return result(chmod(REAL(path), mode));
}
static int fs_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi) {
  (void)fi;
  return result(lchown(REAL(path), uid, gid));
}
static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi) {
  if (fi != NULL) { wait_while_stalled(); return result(ftruncate(fi->fh, size)); }
  return result(truncate(REAL(path), size));
}
/* The kernel has turned O_APPEND into offsets, and our buffers are not aligned for O_DIRECT. */
static int fs_open(const char *path, struct fuse_file_info *fi) {
  int fd = open(REAL(path), fi->flags & ~(O_APPEND | O_DIRECT));
  if (fd == -1) return -errno;
  fi->fh = fd;
  return 0;
}
static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi) {
  int fd = open(REAL(path), (fi->flags & ~(O_APPEND | O_DIRECT)) | O_CREAT, mode);
  if (fd == -1) return -errno;
  fi->fh = fd;
  return 0;
}
static int fs_read(const char *path, char *buffer, size_t size, off_t at, struct fuse_file_info *fi) {
  (void)path;
  wait_while_stalled();
  return result(pread(fi->fh, buffer, size, at));
}
static int fs_write(const char *path, const char *buffer, size_t size, off_t at, struct fuse_file_info *fi) {
  (void)path;
  wait_while_stalled();
  return result(pwrite(fi->fh, buffer, size, at));
}
static int fs_statfs(const char *path, struct statvfs *st) { return result(statvfs(REAL(path), st)); }
static int fs_flush(const char *path, struct fuse_file_info *fi) {
  (void)path;
  return result(close(dup(fi->fh)));
}
static int fs_release(const char *path, struct fuse_file_info *fi) {
  (void)path;
  close(fi->fh);
  return 0;
}
static int fs_fsync(const char *path, int data, struct fuse_file_info *fi) {
  (void)path;
  wait_while_stalled();
  return result(data ? fdatasync(fi->fh) : fsync(fi->fh));
}
static int fs_fsyncdir(const char *path, int data, struct fuse_file_info *fi) {
  (void)data;
  (void)fi;
  int fd = open(REAL(path), O_RDONLY | O_DIRECTORY);
  if (fd == -1) return -errno;
  int outcome = result(fsync(fd));
  close(fd);
  return outcome;
}
static int fs_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t at, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags) {
  (void)at;
  (void)fi;
  (void)flags;
  DIR *dir = opendir(REAL(path));
  if (dir == NULL) return -errno;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) fill(buffer, entry->d_name, NULL, 0, 0);
  closedir(dir);
  return 0;
}
static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi) {
  (void)fi;
  return result(utimensat(AT_FDCWD, REAL(path), times, AT_SYMLINK_NOFOLLOW));
}
static int fs_fallocate(const char *path, int mode, off_t at, off_t length, struct fuse_file_info *fi) {
  (void)path;
  wait_while_stalled();
  return result(fallocate(fi->fh, mode, at, length));
}

static const struct fuse_operations operations = {
    .getattr = fs_getattr,
    .readlink = fs_readlink,
    .mknod = fs_mknod,
    .mkdir = fs_mkdir,
    .unlink = fs_unlink,
    .rmdir = fs_rmdir,
    .symlink = fs_symlink,
    .rename = fs_rename,
    .link = fs_link,
    .chmod = fs_chmod,
    .chown = fs_chown,
    .truncate = fs_truncate,
    .open = fs_open,
    .create = fs_create,
    .read = fs_read,
    .write = fs_write,
    .statfs = fs_statfs,
    .flush = fs_flush,
    .release = fs_release,
    .fsync = fs_fsync,
    .fsyncdir = fs_fsyncdir,
    .readdir = fs_readdir,
    .utimens = fs_utimens,
    .fallocate = fs_fallocate,
};

int main(int argc, char **argv) {
  root = getenv("STALLFS_ROOT");
  stall = getenv("STALLFS_STALL");
  if (root == NULL || stall == NULL) {
    fprintf(stderr, "stallfs: STALLFS_ROOT and STALLFS_STALL must be set\n");
    return 2;
  }
  umask(0);
  return fuse_main(argc, argv, &operations, NULL);
}
