// What Linux has and Swift's Glibc module leaves out: epoll, eventfd, accept4 and the CPU mask, with constants as typed values.
#pragma once
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const uint32_t WEIR_EPOLLIN = EPOLLIN;
static const uint32_t WEIR_EPOLLOUT = EPOLLOUT;
static const uint32_t WEIR_EPOLLRDHUP = EPOLLRDHUP;
static const uint32_t WEIR_EPOLLHUP = EPOLLHUP;
static const uint32_t WEIR_EPOLLERR = EPOLLERR;
static const uint32_t WEIR_EPOLLET = EPOLLET;

static inline int weir_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }
static inline int weir_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}
static inline int weir_epoll_remove(int epoll, int descriptor) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL);
}
static inline uint64_t weir_epoll_data(const struct epoll_event *event) { return event->data.u64; }
static inline void weir_return_free_memory(void) { malloc_trim(0); }
static inline int weir_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

// glibc hides these behind _GNU_SOURCE, which must not be set here: it changes headers that Glibc's module has too.
extern int pthread_setname_np(pthread_t thread, const char *name);
extern int accept4(int descriptor, struct sockaddr *address, socklen_t *length, int flags);
static inline int weir_accept(int descriptor) {
    return accept4(descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

// How many processors this process may run on, of the first 8192; 0 if the kernel does not say.
static inline int weir_usable_cores(void) {
    unsigned long mask[8192 / (8 * sizeof(unsigned long))] = {0};
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int count = 0;
    for (long word = 0; word < bytes / (long)sizeof(unsigned long); word++) count += __builtin_popcountl(mask[word]);
    return count;
}
