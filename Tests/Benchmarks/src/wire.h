// What the load generator and the replica share.
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// An event carries the microsecond at which it was sent: this byte, then so many digits. The byte occurs nowhere else.
#define STAMP_MARK '@'
#define STAMP_DIGITS 16

static inline uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void *checked(void *memory) {
    if (!memory) die("out of memory");
    return memory;
}

// The value of the field `name` (in any case) of a complete head, and its length; NULL where there is none.
static inline const char *field(const char *head, const char *end, const char *name, size_t *length) {
    size_t name_length = strlen(name);
    for (const char *line = head; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        if (*line == '\n') line++;
        if ((size_t)(end - line) <= name_length || line[name_length] != ':') continue;
        if (strncasecmp(line, name, name_length)) continue;
        const char *value = line + name_length + 1, *stop = memchr(value, '\r', (size_t)(end - value));
        if (!stop) return NULL;
        while (value < stop && *value == ' ') value++;
        *length = (size_t)(stop - value);
        return value;
    }
    return NULL;
}

static inline void no_delay(int socket) {
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}
