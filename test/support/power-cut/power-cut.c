/*
 * Makes a power cut of a directory possible. Preloaded into every process that writes below PHX_POWER_CUT_ROOT, it passes each
 * call on as it is and writes down, in PHX_POWER_CUT_JOURNAL, what would be needed to take it back:
 *
 *   write, truncate, allocate    the bytes and the size that were there before
 *   unlink, rename               the file that loses its name is kept under a second one (graves/)
 *   create                       the name
 *   fsync, fdatasync             how far the journal was when it began: what had ended by then is on the disk
 *
 * After SIGKILL of all of them disk.ts takes back what no fsync covered. A journal is a file, so it survives the kill; a
 * record precedes what it tells of, and a second one (END) says that it was done: what was under way during an fsync is
 * not counted as synced by it.
 *
 * With PHX_POWER_CUT_DIE_AT_SYNC=N a process kills itself in place of its N-th sync: what it wrote is seen by the next one,
 * and is not on the disk.
 *
 * Not seen, and so as if it were on disk at once: mkdir and rmdir, renamed directories, hard links, what is written through
 * mmap, files in the root itself, and files below a folder named "log" (people read them after a failure).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#undef fwrite_unlocked /* a macro with optimisation */

enum { WRITE = 1, END = 2, SYNC = 3, SIZE = 4, CREATE = 5, RENAME = 6, UNLINK = 7 };
#define MAGIC 0x31435750u

/* journal.ts reads these 64 bytes, `bytes` more of payload follow. */
struct record {
  uint32_t magic, type;
  uint64_t seq;   /* from one counter for all processes */
  uint64_t ino;   /* of the file, or of the directory that was synced */
  uint64_t off;   /* WRITE: where; SIZE: the new size; RENAME: 1 if the new name was taken */
  uint64_t len;   /* WRITE: how much; RENAME: inode of the old name's folder; END: 0 done, 1 failed */
  uint64_t size;  /* WRITE, SIZE: of the file before */
  uint64_t ref;   /* END: which record; SYNC: the counter when it began; CREATE, RENAME, UNLINK: inode of the name's folder */
  uint64_t bytes;
};

#define PATH_BYTES 4096
#define FDS 65536
#define GROUPS 16

static char root[PATH_BYTES], journal[PATH_BYTES];
static size_t root_len;
static int active;
static uint64_t *counter;
static long syncs, die_at_sync;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* One journal per first folder below the root: each can be cut by itself. */
static struct { char name[64]; int fd; } groups[GROUPS];
static int groups_used;

enum { UNKNOWN = 0, NOT_OURS, FILE_OF_OURS, FOLDER_OF_OURS };
static struct { int state, side, group, stdio, append; uint64_t ino; } fds[FDS];

#define REAL(name) ((__typeof__(&name))real(&name##_real, #name))
static void *real(void **slot, const char *name) {
  void *found = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
  if (found == NULL) {
    found = dlsym(RTLD_NEXT, name);
    if (found == NULL) _exit(125);
    __atomic_store_n(slot, found, __ATOMIC_RELEASE);
  }
  return found;
}
#define HOOK(name) static void *name##_real
HOOK(open64); HOOK(openat64); HOOK(close); HOOK(dup2); HOOK(dup3);
HOOK(write); HOOK(pwrite64); HOOK(writev); HOOK(pwritev64); HOOK(sendfile64); HOOK(copy_file_range);
HOOK(ftruncate64); HOOK(fallocate64); HOOK(posix_fallocate64); HOOK(fsync); HOOK(fdatasync);
HOOK(unlink); HOOK(unlinkat); HOOK(remove); HOOK(rename);
HOOK(fopen64); HOOK(fclose); HOOK(fwrite); HOOK(fwrite_unlocked);
ssize_t sendfile64(int, int, off64_t *, size_t);

static void broken(const char *what) {
  dprintf(2, "power-cut: %s: %s\n", what, strerror(errno));
  _exit(125);
}

__attribute__((constructor)) static void begin(void) {
  const char *r = getenv("PHX_POWER_CUT_ROOT"), *j = getenv("PHX_POWER_CUT_JOURNAL");
  if (r == NULL || j == NULL) return;
  root_len = (size_t)snprintf(root, sizeof root, "%s", r);
  snprintf(journal, sizeof journal, "%s", j);
  char path[PATH_BYTES + 16];
  snprintf(path, sizeof path, "%s/counter", journal);
  int fd = REAL(open64)(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) broken(path);
  counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (counter == MAP_FAILED) broken(path);
  REAL(close)(fd);
  const char *n = getenv("PHX_POWER_CUT_DIE_AT_SYNC");
  die_at_sync = n == NULL ? 0 : atol(n);
  active = 1;
}

static uint64_t next(void) { return __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }

/* `lock` held. */
static int group_of(const char *path) {
  const char *name = path + root_len + 1;
  size_t length = (size_t)(strchrnul(name, '/') - name);
  if (length >= sizeof groups[0].name) length = sizeof groups[0].name - 1;
  for (int i = 0; i < groups_used; i += 1)
    if (strlen(groups[i].name) == length && memcmp(groups[i].name, name, length) == 0) return i;
  if (groups_used == GROUPS) { errno = ENOSPC; broken("more folders than expected"); }
  char file[2 * PATH_BYTES];
  snprintf(file, sizeof file, "%s/%.*s", journal, (int)length, name);
  mkdir(file, 0700);
  snprintf(file, sizeof file, "%s/%.*s/graves", journal, (int)length, name);
  mkdir(file, 0700);
  snprintf(file, sizeof file, "%s/%.*s/%d-%llu.journal", journal, (int)length, name, (int)getpid(),
           (unsigned long long)next());
  int fd = REAL(open64)(file, O_CREAT | O_EXCL | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) broken(file);
  int high = fcntl(fd, F_DUPFD_CLOEXEC, 500); /* out of the way of programs that number their descriptors */
  if (high >= 0) { REAL(close)(fd); fd = high; }
  memcpy(groups[groups_used].name, name, length);
  groups[groups_used].name[length] = 0;
  groups[groups_used].fd = fd;
  groups_used += 1;
  return groups_used - 1;
}

static int is_journal(int fd) {
  for (int i = 0; i < groups_used; i += 1) if (groups[i].fd == fd) return 1;
  return 0;
}

static void put(int group, struct record *record, const void *payload) {
  record->magic = MAGIC;
  struct iovec parts[2] = {{record, sizeof *record}, {(void *)payload, record->bytes}};
  ssize_t written = REAL(writev)(groups[group].fd, parts, record->bytes > 0 ? 2 : 1);
  if (written != (ssize_t)(sizeof *record + record->bytes)) broken("write the journal");
}

static void put_end(int group, uint64_t of, int failed) {
  struct record record = {.type = END, .seq = next(), .ref = of, .len = failed != 0};
  put(group, &record, NULL);
}

/* Absolute, without ".", ".." and empty parts (no symbolic links below the root); false if that is too long. */
static int absolute(int folder, const char *path, char *out) {
  char raw[2 * PATH_BYTES];
  if (path[0] == '/') {
    snprintf(raw, sizeof raw, "%s", path);
  } else {
    char base[PATH_BYTES];
    if (folder == AT_FDCWD) {
      if (getcwd(base, sizeof base) == NULL) return 0;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      ssize_t n = readlink(link, base, sizeof base - 1);
      if (n < 0) return 0;
      base[n] = 0;
    }
    snprintf(raw, sizeof raw, "%s/%s", base, path);
  }
  char *to = out;
  for (const char *from = raw; *from != 0;) {
    while (*from == '/') from += 1;
    const char *end = strchrnul(from, '/');
    size_t length = (size_t)(end - from);
    if (length == 0) break;
    if (length == 2 && from[0] == '.' && from[1] == '.') {
      while (to > out && *--to != '/') {}
    } else if (!(length == 1 && from[0] == '.')) {
      if ((size_t)(to - out) + length + 2 > PATH_BYTES) return 0;
      *to++ = '/';
      memcpy(to, from, length);
      to += length;
    }
    from = end;
  }
  *to = 0;
  return to > out;
}

static int below_root(const char *path) {
  return active && strncmp(path, root, root_len) == 0 && path[root_len] == '/' &&
         strchr(path + root_len + 1, '/') != NULL && strstr(path + root_len, "/log/") == NULL;
}

static uint64_t folder_ino(const char *path) {
  char folder[PATH_BYTES];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash != NULL) *slash = 0;
  struct stat64 st;
  return stat64(folder, &st) == 0 ? st.st_ino : 0;
}

static void forget(int fd) {
  if (fd < 0 || fd >= FDS || __atomic_load_n(&fds[fd].state, __ATOMIC_ACQUIRE) == UNKNOWN) return;
  /* Without the lock: the child of a fork closes such ones, and whoever held the lock is not there to let it go. */
  int others = NOT_OURS;
  if (__atomic_compare_exchange_n(&fds[fd].state, &others, UNKNOWN, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return;
  pthread_mutex_lock(&lock);
  if (fds[fd].state == FILE_OF_OURS) REAL(close)(fds[fd].side);
  fds[fd].stdio = 0;
  __atomic_store_n(&fds[fd].state, UNKNOWN, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&lock);
}

/* What fd is; its side descriptor reads what the program may only write. */
static int kind(int fd) {
  if (!active || fd < 0 || fd >= FDS) return NOT_OURS;
  int state = __atomic_load_n(&fds[fd].state, __ATOMIC_ACQUIRE);
  if (state != UNKNOWN) return state;
  int saved = errno;
  pthread_mutex_lock(&lock);
  state = fds[fd].state;
  if (state == UNKNOWN) {
    state = NOT_OURS;
    char link[64], path[PATH_BYTES];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    struct stat64 st;
    if (n > 0 && fstat64(fd, &st) == 0) {
      path[n] = 0;
      if (S_ISDIR(st.st_mode) && strncmp(path, root, root_len) == 0 && path[root_len] == '/') {
        strcat(path, n < PATH_BYTES - 2 ? "/" : "");
        fds[fd].group = group_of(path);
        fds[fd].ino = st.st_ino;
        state = FOLDER_OF_OURS;
      } else if (S_ISREG(st.st_mode) && below_root(path)) {
        int side = REAL(open64)(link, O_RDONLY | O_CLOEXEC);
        if (side >= 0) {
          fds[fd].side = side;
          fds[fd].ino = st.st_ino;
          fds[fd].group = group_of(path);
          fds[fd].append = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
          state = FILE_OF_OURS;
        }
      }
    }
    __atomic_store_n(&fds[fd].state, state, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&lock);
  errno = saved;
  return state;
}

/* Before bytes [off, off + len) change, or (SIZE) the size becomes off. The number of the record. */
static uint64_t put_change(int fd, int type, uint64_t off, uint64_t len) {
  int saved = errno;
  struct record record = {.type = type, .seq = next(), .ino = fds[fd].ino, .off = off, .len = len};
  struct stat64 st;
  record.size = fstat64(fds[fd].side, &st) == 0 ? (uint64_t)st.st_size : 0;
  uint64_t end = type == SIZE ? record.size : off + len;
  if (end > record.size) end = record.size;
  char *old = NULL;
  if (end > off) {
    old = malloc(end - off);
    if (old == NULL) broken("remember what is overwritten");
    while (off + record.bytes < end) {
      ssize_t got = pread64(fds[fd].side, old + record.bytes, end - off - record.bytes, (off64_t)(off + record.bytes));
      if (got < 0) broken("read what is overwritten");
      if (got == 0) break;
      record.bytes += (uint64_t)got;
    }
  }
  put(fds[fd].group, &record, old);
  free(old);
  errno = saved;
  return record.seq;
}

static void put_changed(int fd, uint64_t seq, int failed) {
  int saved = errno;
  put_end(fds[fd].group, seq, failed);
  errno = saved;
}

static uint64_t here(int fd) {
  if (fds[fd].append) {
    struct stat64 st;
    return fstat64(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
  }
  off64_t at = lseek64(fd, 0, SEEK_CUR);
  return at < 0 ? 0 : (uint64_t)at;
}

static size_t total(const struct iovec *parts, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; i += 1) bytes += parts[i].iov_len;
  return bytes;
}

#define CHANGE(fd, type, off, len, call)                          \
  do {                                                            \
    if (kind(fd) != FILE_OF_OURS) return call;                    \
    uint64_t seq_ = put_change(fd, type, off, len);               \
    __typeof__(call) result_ = call;                              \
    put_changed(fd, seq_, result_ < 0);                           \
    return result_;                                               \
  } while (0)

ssize_t write(int fd, const void *bytes, size_t n) { CHANGE(fd, WRITE, here(fd), n, REAL(write)(fd, bytes, n)); }
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t off) {
  CHANGE(fd, WRITE, (uint64_t)off, n, REAL(pwrite64)(fd, bytes, n, off));
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t off) { return pwrite64(fd, bytes, n, off); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
  CHANGE(fd, WRITE, here(fd), total(parts, count), REAL(writev)(fd, parts, count));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t off) {
  CHANGE(fd, WRITE, (uint64_t)off, total(parts, count), REAL(pwritev64)(fd, parts, count, off));
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t off) { return pwritev64(fd, parts, count, off); }
ssize_t sendfile64(int out, int in, off64_t *off, size_t n) {
  CHANGE(out, WRITE, here(out), n, REAL(sendfile64)(out, in, off, n));
}
ssize_t sendfile(int out, int in, off_t *off, size_t n) { return sendfile64(out, in, (off64_t *)off, n); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
  CHANGE(out, WRITE, to == NULL ? here(out) : (uint64_t)*to, n, REAL(copy_file_range)(in, from, out, to, n, flags));
}
int ftruncate64(int fd, off64_t size) { CHANGE(fd, SIZE, (uint64_t)size, 0, REAL(ftruncate64)(fd, size)); }
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static uint64_t size_with(int fd, off64_t off, off64_t len) {
  struct stat64 st;
  uint64_t size = fstat64(fd, &st) == 0 ? (uint64_t)st.st_size : 0, end = (uint64_t)(off + len);
  return end > size ? end : size;
}
int fallocate64(int fd, int mode, off64_t off, off64_t len) {
  if (mode == 0) CHANGE(fd, SIZE, size_with(fd, off, len), 0, REAL(fallocate64)(fd, mode, off, len));
  CHANGE(fd, WRITE, (uint64_t)off, (uint64_t)len, REAL(fallocate64)(fd, mode, off, len)); /* holes and zeroes */
}
int fallocate(int fd, int mode, off_t off, off_t len) { return fallocate64(fd, mode, off, len); }
int posix_fallocate64(int fd, off64_t off, off64_t len) {
  CHANGE(fd, SIZE, size_with(fd, off, len), 0, REAL(posix_fallocate64)(fd, off, len));
}
int posix_fallocate(int fd, off_t off, off_t len) { return posix_fallocate64(fd, off, len); }

static int synced(int fd, int (*call)(int)) {
  int state = kind(fd);
  if (state > NOT_OURS && __atomic_add_fetch(&syncs, 1, __ATOMIC_SEQ_CST) == die_at_sync) kill(getpid(), SIGKILL);
  uint64_t began = active ? __atomic_load_n(counter, __ATOMIC_SEQ_CST) : 0;
  int result = call(fd);
  if (result == 0 && state > NOT_OURS) {
    struct record record = {.type = SYNC, .seq = next(), .ino = fds[fd].ino, .ref = began};
    put(fds[fd].group, &record, NULL);
  }
  return result;
}
int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

/* Names. */

struct opening { char path[PATH_BYTES]; int ours, existed, group; uint64_t truncation; };

static void before_open(struct opening *opening, int folder, const char *path, int flags) {
  opening->ours = 0;
  opening->truncation = 0;
  if (!active || (flags & (O_CREAT | O_TRUNC)) == 0 || (flags & O_TMPFILE) == O_TMPFILE) return;
  int saved = errno;
  struct stat64 st;
  if (absolute(folder, path, opening->path) && below_root(opening->path)) {
    opening->ours = 1;
    opening->existed = lstat64(opening->path, &st) == 0;
    pthread_mutex_lock(&lock);
    opening->group = group_of(opening->path);
    pthread_mutex_unlock(&lock);
    if (opening->existed && (flags & O_TRUNC) != 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
      int fd = REAL(open64)(opening->path, O_RDONLY | O_CLOEXEC);
      if (fd >= 0) {
        if (kind(fd) == FILE_OF_OURS) opening->truncation = put_change(fd, SIZE, 0, 0);
        forget(fd);
        REAL(close)(fd);
      }
    }
  }
  errno = saved;
}

static void after_open(struct opening *opening, int fd) {
  if (fd >= 0) forget(fd);
  if (!opening->ours) return;
  int saved = errno;
  if (opening->truncation != 0) put_end(opening->group, opening->truncation, fd < 0);
  struct stat64 st;
  if (fd >= 0 && !opening->existed && fstat64(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    struct record record = {.type = CREATE, .seq = next(), .ino = st.st_ino, .ref = folder_ino(opening->path),
                            .bytes = strlen(opening->path)};
    put(opening->group, &record, opening->path);
  }
  errno = saved;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
  struct opening opening;
  before_open(&opening, folder, path, flags);
  int fd = folder == AT_FDCWD ? REAL(open64)(path, flags, mode) : REAL(openat64)(folder, path, flags, mode);
  after_open(&opening, fd);
  return fd;
}

static mode_t mode_of(int flags, va_list rest) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}
#define MODE(flags) va_list rest_; va_start(rest_, flags); mode_t mode = mode_of(flags, rest_); va_end(rest_)
int open64(const char *path, int flags, ...) { MODE(flags); return opened(AT_FDCWD, path, flags, mode); }
int open(const char *path, int flags, ...) { MODE(flags); return opened(AT_FDCWD, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags); return opened(folder, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags); return opened(folder, path, flags, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat(const char *path, mode_t mode) { return creat64(path, mode); }

int close(int fd) {
  if (is_journal(fd)) return 0;
  forget(fd);
  return REAL(close)(fd);
}
int dup2(int from, int to) {
  if (is_journal(to)) { errno = EBUSY; return -1; }
  if (from != to) forget(to);
  return REAL(dup2)(from, to);
}
int dup3(int from, int to, int flags) {
  if (is_journal(to)) { errno = EBUSY; return -1; }
  forget(to);
  return REAL(dup3)(from, to, flags);
}

/* A regular file of ours that is about to lose a name: its group, else -1. */
static int loses_name(const char *path, struct stat64 *st) {
  if (!below_root(path) || lstat64(path, st) != 0 || !S_ISREG(st->st_mode)) return -1;
  pthread_mutex_lock(&lock);
  int group = group_of(path);
  pthread_mutex_unlock(&lock);
  return group;
}

static void bury(int group, const char *path, uint64_t seq) {
  char grave[2 * PATH_BYTES];
  snprintf(grave, sizeof grave, "%s/%s/graves/%llu", journal, groups[group].name, (unsigned long long)seq);
  if (link(path, grave) != 0 && errno != ENOENT) broken(grave);
}

static int unlinked(int folder, const char *path, int (*call)(int, const char *, int), int flags) {
  char full[PATH_BYTES];
  struct stat64 st;
  int saved = errno;
  int group = active && absolute(folder, path, full) ? loses_name(full, &st) : -1;
  if (group < 0) { errno = saved; return call(folder, path, flags); }
  struct record record = {.type = UNLINK, .seq = next(), .ino = st.st_ino, .ref = folder_ino(full), .bytes = strlen(full)};
  bury(group, full, record.seq);
  put(group, &record, full);
  int result = call(folder, path, flags);
  int error = errno;
  put_end(group, record.seq, result != 0);
  errno = result != 0 ? error : saved;
  return result;
}
static int do_unlink(int folder, const char *path, int flags) { (void)folder; (void)flags; return REAL(unlink)(path); }
static int do_remove(int folder, const char *path, int flags) { (void)folder; (void)flags; return REAL(remove)(path); }
static int do_unlinkat(int folder, const char *path, int flags) { return REAL(unlinkat)(folder, path, flags); }
int unlink(const char *path) { return unlinked(AT_FDCWD, path, do_unlink, 0); }
int remove(const char *path) { return unlinked(AT_FDCWD, path, do_remove, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlinked(folder, path, do_unlinkat, flags); }

int rename(const char *from, const char *to) {
  char both[2 * PATH_BYTES], old[PATH_BYTES], new[PATH_BYTES];
  struct stat64 st, target;
  int saved = errno;
  int group = active && absolute(AT_FDCWD, from, old) && absolute(AT_FDCWD, to, new) && below_root(new)
                  ? loses_name(old, &st) : -1;
  if (group < 0) { errno = saved; return REAL(rename)(from, to); }
  struct record record = {.type = RENAME, .seq = next(), .ino = st.st_ino, .ref = folder_ino(new), .len = folder_ino(old)};
  record.off = lstat64(new, &target) == 0 && S_ISREG(target.st_mode) && target.st_ino != st.st_ino;
  if (record.off) bury(group, new, record.seq);
  record.bytes = (uint64_t)snprintf(both, sizeof both, "%s%c%s", old, 0, new);
  put(group, &record, both);
  int result = REAL(rename)(from, to);
  int error = errno;
  put_end(group, record.seq, result != 0);
  errno = result != 0 ? error : saved;
  return result;
}

/* stdio (LevelDB writes its log with it): what a FILE of ours is given goes to its descriptor at once. */

FILE *fopen64(const char *path, const char *mode) {
  struct opening opening;
  int writes = strpbrk(mode, "wa+") != NULL;
  before_open(&opening, AT_FDCWD, path, mode[0] == 'w' ? O_CREAT | O_TRUNC : mode[0] == 'a' ? O_CREAT : 0);
  FILE *file = REAL(fopen64)(path, mode);
  int fd = file == NULL ? -1 : fileno(file);
  after_open(&opening, fd);
  if (fd >= 0 && fd < FDS && writes && kind(fd) == FILE_OF_OURS) fds[fd].stdio = 1;
  return file;
}
FILE *fopen(const char *path, const char *mode) { return fopen64(path, mode); }

static int passes_through(FILE *file) {
  int fd = active ? fileno(file) : -1;
  return fd >= 0 && fd < FDS && fds[fd].stdio;
}
static size_t written_through(const void *bytes, size_t size, size_t count, FILE *file) {
  size_t done = 0, wanted = size * count;
  while (done < wanted) {
    ssize_t n = write(fileno(file), (const char *)bytes + done, wanted - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += (size_t)n;
  }
  return size == 0 ? 0 : done / size;
}
size_t fwrite(const void *bytes, size_t size, size_t count, FILE *file) {
  if (passes_through(file)) return written_through(bytes, size, count, file);
  return REAL(fwrite)(bytes, size, count, file);
}
size_t fwrite_unlocked(const void *bytes, size_t size, size_t count, FILE *file) {
  if (passes_through(file)) return written_through(bytes, size, count, file);
  return REAL(fwrite_unlocked)(bytes, size, count, file);
}
int fclose(FILE *file) {
  int fd = active ? fileno(file) : -1;
  if (fd >= 0 && !is_journal(fd)) forget(fd);
  return REAL(fclose)(file);
}
