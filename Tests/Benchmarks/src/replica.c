// An imitated replica of a model, for benchmarks: one thread, HTTP/1.1 with keep-alive, loopback only.
//
//   replica PORT
//
//   POST anything         a completion of about 770 bytes; with "stream":true in the body a stream of events, each in a
//                         chunk and a write of its own, then a finish reason, usage and [DONE]
//   GET /shape?events=N&gap_us=M   what streams look like from now on; a gap of 0 is as fast as the socket takes them
//   GET anything else     {"status":"ok"}
//
// It believes what it reads: what stands before it is a gateway that is measured. A request is at most 64 MiB.
#define _GNU_SOURCE
#include "wire.h"

#define REQUEST_MAX (64u << 20)

struct connection {
    int socket;
    char *in;
    size_t in_count, in_capacity;
    // What the socket did not take.
    char *out;
    size_t out_start, out_count, out_capacity;
    int is_streaming, events_left, waits_for_room;
    uint64_t due;
    // In the list of paced streams, in order of `due`; NULL when not in it.
    struct connection *before, *after;
};

static int events = 100, gap_us, epoll;
static struct connection paced = {.before = &paced, .after = &paced};
static char reply[2048], stream_head[256], event[2048], stream_end[4096];
static size_t reply_count, stream_head_count, event_count, event_stamp, stream_end_count;

#define CHUNK_START \
    "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
    "\"model\":\"bench-model\",\"choices\":["

static size_t append_chunk(char *to, const char *data) {
    return (size_t)sprintf(to, "%zx\r\n%s\r\n", strlen(data), data);
}

static void compose(void) {
    char text[301] = "", data[1024];
    for (int i = 0; i < 300; i++) text[i] = "lorem ipsum dolor sit amet "[i % 27];
    int length = snprintf(data, sizeof data,
        "{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1700000000,"
        "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
        "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":64,"
        "\"total_tokens\":264,\"prompt_tokens_details\":{\"cached_tokens\":0}},\"system_fingerprint\":\"replica\"}",
        text);
    reply_count = (size_t)snprintf(reply, sizeof reply,
        "HTTP/1.1 200 OK\r\nserver: replica\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
        length, data);
    stream_head_count = (size_t)snprintf(stream_head, sizeof stream_head,
        "HTTP/1.1 200 OK\r\nserver: replica\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");
    snprintf(data, sizeof data,
        CHUNK_START "{\"index\":0,\"delta\":{\"content\":\"%c%016d \"},\"finish_reason\":null}]}\n\n",
        STAMP_MARK, 0);
    event_count = append_chunk(event, data);
    event_stamp = (size_t)(strchr(event, STAMP_MARK) - event) + 1;
    size_t end = append_chunk(stream_end,
        CHUNK_START "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    snprintf(data, sizeof data,
        CHUNK_START "],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
        events, 200 + events);
    end += append_chunk(stream_end + end, data);
    end += append_chunk(stream_end + end, "data: [DONE]\n\n");
    stream_end_count = end + (size_t)sprintf(stream_end + end, "0\r\n\r\n");
}

static void set_stamp(uint64_t now) {
    uint64_t microseconds = now / 1000;
    for (int i = STAMP_DIGITS; i-- > 0; microseconds /= 10)
        event[event_stamp + (size_t)i] = (char)('0' + microseconds % 10);
}

static void leave_list(struct connection *c) {
    if (!c->after) return;
    c->before->after = c->after;
    c->after->before = c->before;
    c->before = c->after = NULL;
}

static void join_list(struct connection *c) {
    struct connection *last = paced.before;
    while (last != &paced && last->due > c->due) last = last->before;
    c->before = last;
    c->after = last->after;
    last->after->before = c;
    last->after = c;
}

static void drop(struct connection *c) {
    leave_list(c);
    close(c->socket);
    free(c->in);
    free(c->out);
    free(c);
}

static void wait_for_room(struct connection *c, int waits) {
    if (c->waits_for_room == waits) return;
    c->waits_for_room = waits;
    struct epoll_event what = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->socket, &what);
}

// Sends or keeps; 0 when the connection is dead.
static int put(struct connection *c, const char *bytes, size_t count) {
    if (c->out_start == c->out_count) {
        c->out_start = c->out_count = 0;
        ssize_t sent = send(c->socket, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return 0;
        if (sent < 0) sent = 0;
        if ((size_t)sent == count) return 1;
        bytes += sent;
        count -= (size_t)sent;
    }
    if (c->out_count + count > c->out_capacity) {
        c->out_capacity = (c->out_count + count) * 2;
        c->out = checked(realloc(c->out, c->out_capacity));
    }
    memcpy(c->out + c->out_count, bytes, count);
    c->out_count += count;
    wait_for_room(c, 1);
    return 1;
}

// Sends the events that are due; 0 when the connection is dead.
static int send_events(struct connection *c) {
    while (c->events_left > 0) {
        if (c->out_count > c->out_start) return 1; // goes on when the socket has room
        uint64_t now = now_ns();
        set_stamp(now);
        if (!put(c, event, event_count)) return 0;
        c->events_left--;
        if (gap_us && c->events_left) {
            c->due += (uint64_t)gap_us * 1000;
            if (c->due < now) c->due = now;
            join_list(c);
            return 1;
        }
    }
    c->is_streaming = 0;
    return put(c, stream_end, stream_end_count);
}

static int asks_for_stream(const char *body, size_t count) {
    const char *end = body + count, *name = memmem(body, count, "\"stream\"", 8);
    if (!name) return 0;
    name += 8;
    while (name < end && (*name == ' ' || *name == ':')) name++;
    return end - name >= 4 && !memcmp(name, "true", 4);
}

static int answer(struct connection *c, const char *head, const char *body, size_t body_count) {
    static const char ok[] =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}";
    if (!memcmp(head, "POST ", 5)) {
        if (!asks_for_stream(body, body_count)) return put(c, reply, reply_count);
        c->is_streaming = 1;
        c->events_left = events;
        c->due = now_ns();
        return put(c, stream_head, stream_head_count) && send_events(c);
    }
    if (!memcmp(head, "GET /shape?", 11)) {
        sscanf(head + 11, "events=%d&gap_us=%d", &events, &gap_us);
        compose();
    }
    return put(c, ok, sizeof ok - 1);
}

// Bytes that a chunked body takes; 0 while it is not complete.
static size_t chunked_length(const char *body, size_t count) {
    for (size_t at = 0;;) {
        const char *line_end = memchr(body + at, '\n', count - at);
        if (!line_end) return 0;
        size_t size = strtoul(body + at, NULL, 16), data = (size_t)(line_end - body) + 1;
        if (size > REQUEST_MAX || count - data < size + 2) return 0;
        at = data + size + 2;
        if (!size) return at;
    }
}

// Answers every complete request; 0 when the connection is to be closed.
static int take_requests(struct connection *c) {
    while (!c->is_streaming && c->in_count) {
        char *end = memmem(c->in, c->in_count, "\r\n\r\n", 4);
        if (!end) return c->in_count < 65536;
        size_t head = (size_t)(end - c->in) + 4, body = 0, length;
        const char *value = field(c->in, c->in + head, "content-length", &length);
        if (value) {
            body = strtoul(value, NULL, 10);
            if (body > REQUEST_MAX) return 0;
            if (head + body > c->in_count) {
                if (head + body > c->in_capacity) {
                    c->in_capacity = head + body + 4096;
                    c->in = checked(realloc(c->in, c->in_capacity));
                }
                return 1;
            }
        } else if (field(c->in, c->in + head, "transfer-encoding", &length)) {
            body = chunked_length(c->in + head, c->in_count - head);
            if (!body) return c->in_count < REQUEST_MAX;
        }
        if (!answer(c, c->in, c->in + head, body)) return 0;
        c->in_count -= head + body;
        memmove(c->in, c->in + head + body, c->in_count);
    }
    return 1;
}

// 0 when the connection is dead.
static int on_event(struct connection *c, uint32_t what) {
    if (what & EPOLLOUT) {
        ssize_t sent = send(c->socket, c->out + c->out_start, c->out_count - c->out_start, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return 0;
        if (sent > 0) c->out_start += (size_t)sent;
        if (c->out_start == c->out_count) {
            c->out_start = c->out_count = 0;
            wait_for_room(c, 0);
            if (c->is_streaming && !c->after && !send_events(c)) return 0;
            if (!take_requests(c)) return 0;
        }
    }
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (c->in_capacity - c->in_count < 2048) {
            c->in_capacity = c->in_capacity ? c->in_capacity * 2 : 8192;
            c->in = checked(realloc(c->in, c->in_capacity));
        }
        ssize_t got = recv(c->socket, c->in + c->in_count, c->in_capacity - c->in_count, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return 0;
        if (got > 0) c->in_count += (size_t)got;
        if (got > 0 && !take_requests(c)) return 0;
    }
    return 1;
}

static void accept_all(int listener) {
    for (int socket; (socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        no_delay(socket);
        struct connection *c = checked(calloc(1, sizeof *c));
        c->socket = socket;
        struct epoll_event what = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &what);
    }
}

int main(int count, char **arguments) {
    if (count != 2) die("usage: replica PORT");
    compose();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096))
        die("replica: port %s: %s", arguments[1], strerror(errno));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event what = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &what);
    for (;;) {
        struct timespec wait, *limit = NULL;
        if (paced.after != &paced) {
            uint64_t now = now_ns(), left = paced.after->due > now ? paced.after->due - now : 0;
            wait = (struct timespec){(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
            limit = &wait;
        }
        int number = epoll_pwait2(epoll, ready, 256, limit, NULL);
        for (int i = 0; i < number; i++) {
            struct connection *c = ready[i].data.ptr;
            if (!c) accept_all(listener);
            else if (!on_event(c, ready[i].events)) drop(c);
        }
        while (paced.after != &paced && paced.after->due <= now_ns()) {
            struct connection *c = paced.after;
            leave_list(c);
            if (!send_events(c) || !take_requests(c)) drop(c);
        }
    }
}
