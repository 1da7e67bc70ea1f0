// What Linux has and Swift's Glibc module leaves out: epoll, eventfd, accept4, the CPU mask, descriptors in messages.
#pragma once
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
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

// send(2) and recv(2) without being points at which a thread can be cancelled, which costs as much again: no thread of
// ours ever is.
static inline ssize_t weir_send(int descriptor, const void *bytes, size_t count) {
    return syscall(SYS_sendto, descriptor, bytes, count, MSG_NOSIGNAL, NULL, 0);
}
static inline ssize_t weir_receive(int descriptor, void *room, size_t count) {
    return syscall(SYS_recvfrom, descriptor, room, count, 0, NULL, NULL);
}

// glibc hides these behind _GNU_SOURCE, which must not be set here: it changes headers that Glibc's module has too.
extern int pthread_setname_np(pthread_t thread, const char *name);
extern int accept4(int descriptor, struct sockaddr *address, socklen_t *length, int flags);
static inline int weir_accept(int descriptor) {
    return accept4(descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
static inline int weir_accept_blocking(int descriptor) { return accept4(descriptor, NULL, NULL, SOCK_CLOEXEC); }

// How many processors this process may run on, of the first 8192; 0 if the kernel does not say.
static inline int weir_usable_cores(void) {
    unsigned long mask[8192 / (8 * sizeof(unsigned long))] = {0};
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int count = 0;
    for (long word = 0; word < bytes / (long)sizeof(unsigned long); word++) count += __builtin_popcountl(mask[word]);
    return count;
}

// Passing open descriptors over a Unix socket: the macros of cmsg(3) are no functions.
#define WEIR_DESCRIPTORS_MAX 128
// Sends one byte with `count` descriptors attached. 0, or -1 with errno.
static inline int weir_send_descriptors(int socket, const int *descriptors, size_t count) {
    union { char bytes[CMSG_SPACE(sizeof(int) * WEIR_DESCRIPTORS_MAX)]; struct cmsghdr align; } control;
    char byte = 'd';
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    size_t size = sizeof(int) * count;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    __builtin_memcpy(CMSG_DATA(header), descriptors, size);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}
// Receives one byte and up to `room` descriptors, each close-on-exec. How many came, or -1 with errno (0: the end).
static inline int weir_receive_descriptors(int socket, int *descriptors, size_t room) {
    union { char bytes[CMSG_SPACE(sizeof(int) * WEIR_DESCRIPTORS_MAX)]; struct cmsghdr align; } control;
    char byte = 0;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * room)};
    ssize_t result = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (result <= 0) return (int)result;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return 0;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    __builtin_memcpy(descriptors, CMSG_DATA(header), count * sizeof(int));
    return (int)count;
}
// Who is at the other end of a Unix socket. glibc hides `struct ucred` behind _GNU_SOURCE.
static inline int weir_peer(int socket, int32_t *process, uint32_t *user) {
    struct { int32_t process; uint32_t user; uint32_t group; } peer = {0, 0, 0};
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -1;
    *process = peer.process;
    *user = peer.user;
    return 0;
}
