/*
 * Writes down what a process does to the files below a folder, for test/faults/disk.ts, which builds what a disk may
 * hold after a power cut from it. Preload it (LD_PRELOAD) with
 *
 *   DISK_TRACE_ROOT   the folder, an absolute path
 *   DISK_TRACE_MARKS  a file outside of it: a line that is written there is a mark, in its place among the calls
 *   DISK_TRACE_FILE   where the trace goes
 *
 * Calls are made one at a time, so that their order in the trace is the order of their effects; only fsync runs beside
 * others, and is written down when it begins and when it has ended. What could change a file unseen is a record too
 * (BLIND), which makes the reader give up: a simulation that misses a write proves nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, SYNC_BEGINS, SYNC_ENDED, MARK, BLIND };
enum { CREATED = 1, FOLDER = 2 };
enum { MAX_FD = 65536 };

/* Little-endian, as the reader expects it; `length` bytes follow. */
struct record {
  uint8_t kind, flags;
  uint16_t first; /* length of the first of two paths */
  int32_t fd;
  uint64_t at;
  uint32_t length, thread;
};

enum { NOT_OURS, OURS, MARKS };
static struct { uint8_t what; dev_t device; ino_t inode; } table[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], marks[PATH_MAX];
static size_t root_length;
static int trace = -1;
static pid_t owner;

/* The function of the C library itself, looked up once. */
#define REAL(name)                                                                   \
  (*({                                                                               \
    static __typeof__(&name) found;                                                  \
    if (found == NULL && (found = dlsym(RTLD_NEXT, #name)) == NULL) abort();         \
    found;                                                                           \
  }))

__attribute__((constructor)) static void start(void) {
  const char *folder = getenv("DISK_TRACE_ROOT"), *file = getenv("DISK_TRACE_FILE");
  if (folder == NULL || file == NULL) return;
  snprintf(root, sizeof root, "%s", folder);
  snprintf(marks, sizeof marks, "%s", getenv("DISK_TRACE_MARKS") ? getenv("DISK_TRACE_MARKS") : "");
  root_length = strlen(root);
  int opened = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  trace = fcntl(opened, F_DUPFD_CLOEXEC, 1000); /* out of the way of programs that close what they know */
  REAL(close)(opened);
  if (trace < 0) abort();
  owner = getpid();
}

static void put(struct record record, const void *a, size_t a_length, const void *b, size_t b_length) {
  record.length = (uint32_t)(a_length + b_length);
  record.thread = (uint32_t)gettid();
  struct iovec parts[3] = {{&record, sizeof record}, {(void *)a, a_length}, {(void *)b, b_length}};
  ssize_t wanted = (ssize_t)(sizeof record + a_length + b_length);
  if (REAL(writev)(trace, parts, 3) != wanted) abort();
}

static void put_path(int kind, const char *path) {
  put((struct record){.kind = (uint8_t)kind, .fd = -1}, path, strlen(path), NULL, 0);
}

/* What cannot be simulated, in words. */
static void blind(const char *call) {
  put((struct record){.kind = BLIND, .fd = -1}, call, strlen(call), NULL, 0);
}

static int below(const char *path) {
  return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

/* The absolute path, as far as it is ours; an empty text where it is not. */
static const char *resolved(int folder, const char *path, char *into) {
  into[0] = 0;
  if (trace < 0 || path == NULL || getpid() != owner) return into;
  if (path[0] == '/') snprintf(into, PATH_MAX, "%s", path);
  else {
    char base[PATH_MAX], link[64];
    ssize_t length;
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, base, sizeof base - 1);
    if (length < 0) return into;
    base[length] = 0;
    if (snprintf(into, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) abort();
  }
  if (!below(into) && strcmp(into, marks) != 0) into[0] = 0;
  return into;
}

static int what(int fd) {
  struct stat is;
  if (trace < 0 || fd < 0 || fd >= MAX_FD || table[fd].what == NOT_OURS || getpid() != owner) return NOT_OURS;
  /* A number that was closed unseen (libuv asks the kernel itself) and is something else by now. */
  if (fstat(fd, &is) != 0 || is.st_dev != table[fd].device || is.st_ino != table[fd].inode)
    table[fd].what = NOT_OURS;
  return table[fd].what;
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  int ours = resolved(folder, path, full)[0] != 0;
  if (!ours) {
    int fd = REAL(openat)(folder, path, flags, mode);
    if (fd >= 0 && fd < MAX_FD && getpid() == owner) table[fd].what = NOT_OURS;
    return fd;
  }
  pthread_mutex_lock(&lock);
  struct stat before, is;
  int existed = stat(full, &before) == 0;
  int fd = REAL(openat)(folder, path, flags, mode);
  int failed = errno;
  if (fd >= MAX_FD || (flags & O_TMPFILE) == O_TMPFILE) blind("a file without a name, or too many files");
  else if (fd >= 0 && fstat(fd, &is) == 0) {
    table[fd].what = strcmp(full, marks) == 0 ? MARKS : OURS;
    table[fd].device = is.st_dev;
    table[fd].inode = is.st_ino;
    if (table[fd].what == OURS) {
      uint8_t facts = (uint8_t)((existed ? 0 : CREATED) | (S_ISDIR(is.st_mode) ? FOLDER : 0));
      put((struct record){.kind = OPEN, .flags = facts, .fd = fd}, full, strlen(full), NULL, 0);
      if (existed && (flags & O_TRUNC) && before.st_size > 0)
        put((struct record){.kind = TRUNCATE, .fd = fd}, NULL, 0, NULL, 0);
    }
  }
  pthread_mutex_unlock(&lock);
  errno = failed;
  return fd;
}

#define OPEN_LIKE(name)                                   \
  int name(const char *path, int flags, ...) {            \
    va_list rest;                                         \
    va_start(rest, flags);                                \
    mode_t mode = va_arg(rest, mode_t);                   \
    va_end(rest);                                         \
    return open_at(AT_FDCWD, path, flags, mode);          \
  }
OPEN_LIKE(open)
OPEN_LIKE(open64)
#define OPENAT_LIKE(name)                                 \
  int name(int folder, const char *path, int flags, ...) {\
    va_list rest;                                         \
    va_start(rest, flags);                                \
    mode_t mode = va_arg(rest, mode_t);                   \
    va_end(rest);                                         \
    return open_at(folder, path, flags, mode);            \
  }
OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* `call` writes; `at` is where, or -1 for the file's own position. */
#define WRITTEN(call, fd, bytes, offset)                                                                     \
  do {                                                                                                       \
    int is = what(fd);                                                                                       \
    if (is == NOT_OURS) return call;                                                                         \
    pthread_mutex_lock(&lock);                                                                               \
    ssize_t done = call;                                                                                     \
    int failed = errno;                                                                                      \
    if (done > 0) wrote(fd, is, bytes, (size_t)done, offset);                                                \
    pthread_mutex_unlock(&lock);                                                                             \
    errno = failed;                                                                                          \
    return done;                                                                                             \
  } while (0)

static void wrote(int fd, int is, const void *bytes, size_t length, off64_t offset) {
  if (is == MARKS) {
    put((struct record){.kind = MARK, .fd = fd}, bytes, length, NULL, 0);
    return;
  }
  if (offset < 0) offset = lseek64(fd, 0, SEEK_CUR) - (off64_t)length;
  else if (fcntl(fd, F_GETFL) & O_APPEND) blind("pwrite to a file that is open for appending");
  put((struct record){.kind = WRITE, .fd = fd, .at = (uint64_t)offset}, bytes, length, NULL, 0);
}

ssize_t write(int fd, const void *bytes, size_t length) { WRITTEN(REAL(write)(fd, bytes, length), fd, bytes, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  WRITTEN(REAL(pwrite)(fd, bytes, length, offset), fd, bytes, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  WRITTEN(REAL(pwrite64)(fd, bytes, length, offset), fd, bytes, offset);
}

/* As one write of all parts. */
static void *gathered(const struct iovec *parts, int count) {
  size_t length = 0, at = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  char *bytes = malloc(length + 1);
  if (bytes == NULL) abort();
  for (int i = 0; i < count; at += parts[i++].iov_len) memcpy(bytes + at, parts[i].iov_base, parts[i].iov_len);
  return bytes;
}
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off64_t offset) {
  int is = what(fd);
  if (is == NOT_OURS) return offset < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev64)(fd, parts, count, offset);
  void *bytes = gathered(parts, count);
  pthread_mutex_lock(&lock);
  ssize_t done = offset < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev64)(fd, parts, count, offset);
  int failed = errno;
  if (done > 0) wrote(fd, is, bytes, (size_t)done, offset);
  pthread_mutex_unlock(&lock);
  free(bytes);
  errno = failed;
  return done;
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_parts(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return write_parts(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  return write_parts(fd, parts, count, offset);
}

static int resize(int fd, off64_t size) {
  int is = what(fd);
  if (is != OURS) return REAL(ftruncate64)(fd, size);
  pthread_mutex_lock(&lock);
  int status = REAL(ftruncate64)(fd, size), failed = errno;
  if (status == 0) put((struct record){.kind = TRUNCATE, .fd = fd, .at = (uint64_t)size}, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  errno = failed;
  return status;
}
int ftruncate(int fd, off_t size) { return resize(fd, size); }
int ftruncate64(int fd, off64_t size) { return resize(fd, size); }

/* Room at the end makes the file longer; anything else is not simulated. */
static int reserve(int fd, int mode, off64_t offset, off64_t length) {
  if (what(fd) != OURS) return REAL(fallocate64)(fd, mode, offset, length);
  pthread_mutex_lock(&lock);
  struct stat before;
  fstat(fd, &before);
  int status = REAL(fallocate64)(fd, mode, offset, length), failed = errno;
  if (status == 0 && mode != 0) blind("fallocate with a mode");
  else if (status == 0 && offset + length > before.st_size)
    put((struct record){.kind = TRUNCATE, .fd = fd, .at = (uint64_t)(offset + length)}, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  errno = failed;
  return status;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return reserve(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return reserve(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return reserve(fd, 0, offset, length) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
  return reserve(fd, 0, offset, length) == 0 ? 0 : errno;
}

static int sync_file(int fd, int (*call)(int)) {
  if (what(fd) != OURS) return call(fd);
  pthread_mutex_lock(&lock);
  put((struct record){.kind = SYNC_BEGINS, .fd = fd}, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  int status = call(fd), failed = errno;
  pthread_mutex_lock(&lock);
  if (status == 0) put((struct record){.kind = SYNC_ENDED, .fd = fd}, NULL, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  errno = failed;
  return status;
}
int fsync(int fd) { return sync_file(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_file(fd, REAL(fdatasync)); }

static int rename_at(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  char a[PATH_MAX], b[PATH_MAX];
  int ours = resolved(from_folder, from, a)[0] != 0;
  ours |= resolved(to_folder, to, b)[0] != 0;
  if (!ours) return REAL(renameat2)(from_folder, from, to_folder, to, flags);
  pthread_mutex_lock(&lock);
  int status = REAL(renameat2)(from_folder, from, to_folder, to, flags), failed = errno;
  if (status == 0 && (a[0] == 0 || b[0] == 0 || flags != 0)) blind("rename across the border, or an exchange");
  else if (status == 0)
    put((struct record){.kind = RENAME, .fd = -1, .first = (uint16_t)strlen(a)}, a, strlen(a), b, strlen(b));
  pthread_mutex_unlock(&lock);
  errno = failed;
  return status;
}
int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return rename_at(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
  return rename_at(a, from, b, to, flags);
}

static int unlink_at(int folder, const char *path, int flags) {
  char full[PATH_MAX];
  if (resolved(folder, path, full)[0] == 0) return REAL(unlinkat)(folder, path, flags);
  pthread_mutex_lock(&lock);
  int status = REAL(unlinkat)(folder, path, flags), failed = errno;
  if (status == 0) put_path(flags & AT_REMOVEDIR ? RMDIR : UNLINK, full);
  pthread_mutex_unlock(&lock);
  errno = failed;
  return status;
}
int unlink(const char *path) { return unlink_at(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlink_at(folder, path, flags); }
int rmdir(const char *path) { return unlink_at(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
  int status = unlink_at(AT_FDCWD, path, 0);
  return status != 0 && errno == EISDIR ? unlink_at(AT_FDCWD, path, AT_REMOVEDIR) : status;
}

static int mkdir_at(int folder, const char *path, mode_t mode) {
  char full[PATH_MAX];
  if (resolved(folder, path, full)[0] == 0) return REAL(mkdirat)(folder, path, mode);
  pthread_mutex_lock(&lock);
  int status = REAL(mkdirat)(folder, path, mode), failed = errno;
  if (status == 0) put_path(MKDIR, full);
  pthread_mutex_unlock(&lock);
  errno = failed;
  return status;
}
int mkdir(const char *path, mode_t mode) { return mkdir_at(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return mkdir_at(folder, path, mode); }

/* What this does not follow. The index in shared memory (-shm) is no data: it is made anew from the log. */
static void *map(void *wish, size_t length, int rights, int flags, int fd, off64_t offset) {
  if (trace >= 0 && fd >= 0 && (flags & MAP_SHARED) && (rights & PROT_WRITE) && what(fd) == OURS) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t read = readlink(link, path, sizeof path - 1);
    path[read < 0 ? 0 : read] = 0;
    if (read < 4 || strcmp(path + read - 4, "-shm") != 0) {
      pthread_mutex_lock(&lock);
      blind("a file that is mapped for writing");
      pthread_mutex_unlock(&lock);
    }
  }
  return REAL(mmap64)(wish, length, rights, flags, fd, offset);
}
void *mmap(void *wish, size_t length, int rights, int flags, int fd, off_t offset) {
  return map(wish, length, rights, flags, fd, offset);
}
void *mmap64(void *wish, size_t length, int rights, int flags, int fd, off64_t offset) {
  return map(wish, length, rights, flags, fd, offset);
}

#define BLIND_WHERE(condition, call)              \
  do {                                            \
    if (condition) {                              \
      pthread_mutex_lock(&lock);                  \
      blind(call);                                \
      pthread_mutex_unlock(&lock);                \
    }                                             \
  } while (0)
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
  BLIND_WHERE(what(out) == OURS, "copy_file_range");
  return REAL(copy_file_range)(in, from, out, to, length, flags);
}
ssize_t sendfile(int out, int in, off_t *from, size_t length) {
  BLIND_WHERE(what(out) == OURS, "sendfile");
  return REAL(sendfile)(out, in, from, length);
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t length) {
  BLIND_WHERE(what(out) == OURS, "sendfile");
  return REAL(sendfile64)(out, in, from, length);
}
int truncate64(const char *path, off64_t size) {
  char full[PATH_MAX];
  BLIND_WHERE(resolved(AT_FDCWD, path, full)[0] != 0, "truncate by path");
  return REAL(truncate64)(path, size);
}
int truncate(const char *path, off_t size) { return truncate64(path, size); }
static int link_at(int a, const char *from, int b, const char *to, int flags) {
  char full[PATH_MAX];
  BLIND_WHERE(resolved(b, to, full)[0] != 0, "link");
  return REAL(linkat)(a, from, b, to, flags);
}
int link(const char *from, const char *to) { return link_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return link_at(a, from, b, to, flags); }
int symlink(const char *target, const char *path) {
  char full[PATH_MAX];
  BLIND_WHERE(resolved(AT_FDCWD, path, full)[0] != 0, "symlink");
  return REAL(symlink)(target, path);
}
