/* Faults at system calls, for tests: preloaded (LD_PRELOAD), so that every library of
 * the process is caught, whatever language it is written in.
 *
 * A rule acts at the nth call that it matches: it kills the process (half of a write is
 * written first), sends it a signal (some milliseconds later), or fails the call (and
 * with STICKY all that follow).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, SYNC = 4, RENAME = 8, LINK = 16, REMOVE = 32, MKDIR = 64 };
enum { KILL = 1, SIGNAL = 2, FAIL = 3, STICKY = 4 };

struct rule {
    int kinds, action, argument;
    long nth;
    char path[512], needle[256];
    atomic_long seen;
};

static struct rule rules[8];
static atomic_int count;
static int log_handle = -1;

void faults_reset(void) {
    count = 0;
    if (log_handle >= 0) close(log_handle);
    log_handle = -1;
}

void faults_log(const char *path) {
    log_handle = (int)syscall(SYS_openat, AT_FDCWD, path,
                              O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
}

/* path and needle are parts of the call's path and of what is written; empty: any. */
void faults_rule(int kinds, const char *path, const char *needle, long nth, int action,
                 int argument) {
    struct rule *rule = &rules[count];
    rule->kinds = kinds;
    rule->action = action;
    rule->argument = argument;
    rule->nth = nth;
    rule->seen = 0;
    snprintf(rule->path, sizeof rule->path, "%s", path);
    snprintf(rule->needle, sizeof rule->needle, "%s", needle);
    count++;
}

static void path_of_handle(int handle, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

static void path_at(int folder, const char *name, char *path) {
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) base[0] = 0;
    } else {
        path_of_handle(folder, base);
    }
    snprintf(path, PATH_MAX, "%s/%s", base, name);
}

/* Send a signal: the number is argument % 1000, after argument / 1000 milliseconds. */
static void send_signal(int argument) {
    if (argument < 1000) {
        kill(getpid(), argument);
        return;
    }
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = argument % 1000};
    struct itimerspec once = {.it_value = {.tv_nsec = argument / 1000 * 1000000L}};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &once, NULL);
}

/* 0: go on. 1: the call fails, with errno set. 2: half a write, then the end. */
static int fault(int kind, const char *path, const void *data, size_t size) {
    int n = count, result = 0;
    if (log_handle >= 0) {
        char line[PATH_MAX + 32];
        int length = snprintf(line, sizeof line, "%d %s\n", kind, path);
        syscall(SYS_write, log_handle, line, length);
    }
    for (int i = 0; i < n; i++) {
        struct rule *rule = &rules[i];
        if (!(rule->kinds & kind) || !strstr(path, rule->path)) continue;
        size_t length = strlen(rule->needle);
        if (length && (!data || !memmem(data, size, rule->needle, length))) continue;
        long seen = ++rule->seen;
        if (seen < rule->nth || (seen > rule->nth && rule->action != STICKY)) continue;
        if (rule->action == SIGNAL) {
            send_signal(rule->argument);
        } else if (rule->action == KILL) {
            if (kind == WRITE) return 2;
            kill(getpid(), SIGKILL);
        } else {
            errno = rule->argument;
            result = 1;
        }
    }
    return result;
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int idle(void) { return !count && log_handle < 0; }

#define OPEN(name)                                                                       \
    int name(const char *file, int flags, ...) {                                         \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        mode_t mode = va_arg(rest, mode_t);                                              \
        va_end(rest);                                                                    \
        if (!idle() && (flags & (O_CREAT | O_TRUNC))) {                                  \
            char path[PATH_MAX];                                                         \
            path_at(AT_FDCWD, file, path);                                               \
            if (fault(CREATE, path, NULL, 0)) return -1;                                 \
        }                                                                                \
        return REAL(name)(file, flags, mode);                                            \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                     \
    int name(int folder, const char *file, int flags, ...) {                             \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        mode_t mode = va_arg(rest, mode_t);                                              \
        va_end(rest);                                                                    \
        if (!idle() && (flags & (O_CREAT | O_TRUNC))) {                                  \
            char path[PATH_MAX];                                                         \
            path_at(folder, file, path);                                                 \
            if (fault(CREATE, path, NULL, 0)) return -1;                                 \
        }                                                                                \
        return REAL(name)(folder, file, flags, mode);                                    \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int handle, const void *data, size_t size) {
    if (!idle()) {
        char path[PATH_MAX];
        path_of_handle(handle, path);
        int what = fault(WRITE, path, data, size);
        if (what == 1) return -1;
        if (what == 2) {
            syscall(SYS_write, handle, data, size / 2);
            kill(getpid(), SIGKILL);
        }
    }
    return REAL(write)(handle, data, size);
}

ssize_t writev(int handle, const struct iovec *parts, int number) {
    if (!idle()) {
        char path[PATH_MAX];
        path_of_handle(handle, path);
        int what = fault(WRITE, path, number ? parts[0].iov_base : NULL,
                         number ? parts[0].iov_len : 0);
        if (what == 1) return -1;
        if (what == 2) kill(getpid(), SIGKILL);
    }
    return REAL(writev)(handle, parts, number);
}

#define HANDLE(name)                                                                     \
    int name(int handle) {                                                               \
        if (!idle()) {                                                                   \
            char path[PATH_MAX];                                                         \
            path_of_handle(handle, path);                                                \
            if (fault(SYNC, path, NULL, 0)) return -1;                                   \
        }                                                                                \
        return REAL(name)(handle);                                                       \
    }
HANDLE(fsync)
HANDLE(fdatasync)

#define TWO(name, kind)                                                                  \
    int name(const char *from, const char *to) {                                         \
        if (!idle()) {                                                                   \
            char path[PATH_MAX];                                                         \
            path_at(AT_FDCWD, to, path);                                                 \
            if (fault(kind, path, NULL, 0)) return -1;                                   \
        }                                                                                \
        return REAL(name)(from, to);                                                     \
    }
TWO(rename, RENAME)
TWO(symlink, LINK)

int renameat(int a, const char *from, int b, const char *to) {
    if (!idle()) {
        char path[PATH_MAX];
        path_at(b, to, path);
        if (fault(RENAME, path, NULL, 0)) return -1;
    }
    return REAL(renameat)(a, from, b, to);
}

#define ONE(name, kind)                                                                  \
    int name(const char *file) {                                                         \
        if (!idle()) {                                                                   \
            char path[PATH_MAX];                                                         \
            path_at(AT_FDCWD, file, path);                                               \
            if (fault(kind, path, NULL, 0)) return -1;                                   \
        }                                                                                \
        return REAL(name)(file);                                                         \
    }
ONE(unlink, REMOVE)
ONE(rmdir, REMOVE)

int unlinkat(int folder, const char *file, int flags) {
    if (!idle()) {
        char path[PATH_MAX];
        path_at(folder, file, path);
        if (fault(REMOVE, path, NULL, 0)) return -1;
    }
    return REAL(unlinkat)(folder, file, flags);
}

int mkdir(const char *file, mode_t mode) {
    if (!idle()) {
        char path[PATH_MAX];
        path_at(AT_FDCWD, file, path);
        if (fault(MKDIR, path, NULL, 0)) return -1;
    }
    return REAL(mkdir)(file, mode);
}
