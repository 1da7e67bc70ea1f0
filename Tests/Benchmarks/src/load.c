// The load of a benchmark: one thread, HTTP/1.1 with keep-alive, loopback only. Prints one JSON object.
//
//   load --port P --connections C (--requests N | --seconds S) [--stream] [--events N] [--ramp-ms M]
//        [--authorization FILE [--skip N]] [--body FILE]
//
// Closed loop: a connection sends its next request when the answer before is complete. `--ramp-ms` spreads the first
// requests over so long. `--authorization`: values of that field, one a line, used in turn, from behind the first N on.
// `--events`: an answer with another number of events is an error. Everything is bounded: requests or seconds, 30 s for
// an answer.
#define _GNU_SOURCE
#include "wire.h"

enum { ANSWER_SECONDS_MAX = 30, CONNECTIONS_MAX = 20000, HEAD_MAX = 8192 };
enum state { IDLE, CONNECTING, SENDING, HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct request { char *bytes; size_t count; };
struct connection {
    int socket;
    enum state state;
    const struct request *request;
    size_t sent, head_count, trailer_count, tail_count;
    uint64_t started, left, stamp;
    int is_keeping, is_good, digits, events;
    char tail[8], head[HEAD_MAX];
};
// Values of nanoseconds: 64 steps for each power of two.
struct histogram { uint64_t count, steps[64 * 64]; };

static int epoll, is_stream, events_expected = -1;
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct request *requests;
static size_t request_kinds, skipped;
static uint64_t started, answered, failed, statuses_bad, events_seen, finished_at;
static struct histogram latencies, delays;

static void record(struct histogram *h, uint64_t value) {
    unsigned shift = value < 64 ? 0 : (unsigned)(63 - __builtin_clzll(value)) - 5;
    h->steps[shift ? shift * 64 + ((value >> (shift - 1)) - 64) : value]++;
    h->count++;
}

// The value below which `share` of all values are, in microseconds.
static double quantile(const struct histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;
    for (unsigned i = 0; i < 64 * 64; i++)
        if ((seen += h->steps[i]) > wanted)
            return (double)(i < 64 ? i : (uint64_t)(i % 64 + 64) << (i / 64 - 1)) / 1000;
    return 0;
}

static void end_answer(struct connection *c, int is_good, int keeps) {
    finished_at = now_ns();
    if (is_good) {
        answered++;
        record(&latencies, finished_at - c->started);
    } else {
        failed++;
    }
    if (!keeps && c->socket >= 0) {
        close(c->socket);
        c->socket = -1;
    }
    c->state = IDLE;
}

static void watch(struct connection *c, int operation, uint32_t what) {
    struct epoll_event event = {.events = what, .data.ptr = c};
    epoll_ctl(epoll, operation, c->socket, &event);
}

static void send_request(struct connection *c) {
    ssize_t count = send(c->socket, c->request->bytes + c->sent, c->request->count - c->sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return end_answer(c, 0, 0);
    if (count > 0) c->sent += (size_t)count;
    int is_sent = c->sent == c->request->count;
    if (is_sent != (c->state == HEAD)) watch(c, EPOLL_CTL_MOD, EPOLLIN | (is_sent ? 0 : EPOLLOUT));
    c->state = is_sent ? HEAD : SENDING;
}

static void start(struct connection *c, uint64_t now) {
    c->request = &requests[(skipped + started++) % request_kinds];
    c->started = now;
    c->sent = c->head_count = c->tail_count = 0;
    c->digits = c->events = 0;
    if (c->socket >= 0) {
        c->state = SENDING;
        return send_request(c);
    }
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->socket < 0) die("load: %s", strerror(errno));
    no_delay(c->socket);
    c->state = CONNECTING;
    if (connect(c->socket, (void *)&address, sizeof address) && errno != EINPROGRESS) return end_answer(c, 0, 0);
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void end_message(struct connection *c) {
    int is_complete = !is_stream || memmem(c->tail, c->tail_count, "[DONE]", 6);
    int is_counted = events_expected < 0 || c->events == events_expected;
    if (!c->is_good) statuses_bad++;
    end_answer(c, c->is_good && is_complete && is_counted, c->is_keeping);
}

static void read_head(struct connection *c) {
    const char *end = c->head + c->head_count, *value;
    size_t length;
    c->is_good = !memcmp(c->head + 8, " 200", 4);
    value = field(c->head, end, "connection", &length);
    c->is_keeping = !(value && length == 5 && !strncasecmp(value, "close", 5));
    value = field(c->head, end, "content-length", &length);
    c->left = value ? strtoull(value, NULL, 10) : 0;
    c->state = value ? BODY : CHUNK_SIZE;
    if (!value && !field(c->head, end, "transfer-encoding", &length)) end_answer(c, 0, 0);
}

// Finds the stamps of events, which may be cut anywhere, and keeps the end.
static void read_body(struct connection *c, const char *bytes, size_t count, uint64_t now) {
    const char *at = bytes, *end = bytes + count;
    while (is_stream && at < end) {
        if (!c->digits) {
            at = memchr(at, STAMP_MARK, (size_t)(end - at));
            if (!at) break;
            at++;
            c->digits = STAMP_DIGITS;
            c->stamp = 0;
        }
        for (; at < end && c->digits; at++, c->digits--) c->stamp = c->stamp * 10 + (uint64_t)(*at - '0');
        if (c->digits) break;
        c->events++;
        events_seen++;
        record(&delays, now > c->stamp * 1000 ? now - c->stamp * 1000 : 0);
    }
    for (size_t i = count > 8 ? count - 8 : 0; i < count; i++) {
        if (c->tail_count == 8) memmove(c->tail, c->tail + 1, --c->tail_count);
        c->tail[c->tail_count++] = bytes[i];
    }
}

static int hex(char digit) { return digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10; }

static void on_bytes(struct connection *c, const char *at, size_t count, uint64_t now) {
    const char *end = at + count;
    while (at < end) {
        size_t left = (size_t)(end - at);
        switch (c->state) {
        case HEAD: {
            size_t before = c->head_count, taken = left < HEAD_MAX - before ? left : HEAD_MAX - before;
            memcpy(c->head + before, at, taken);
            c->head_count += taken;
            char *stop = memmem(c->head, c->head_count, "\r\n\r\n", 4);
            if (!stop && c->head_count == HEAD_MAX) return end_answer(c, 0, 0);
            if (!stop) return;
            at += (size_t)(stop + 4 - c->head) - before;
            c->head_count = (size_t)(stop + 4 - c->head);
            read_head(c);
            if (c->state == IDLE) return;
            if (c->state == BODY && !c->left) return end_message(c);
            break;
        }
        case BODY: case CHUNK_DATA: {
            size_t taken = left < c->left ? left : (size_t)c->left;
            read_body(c, at, taken, now);
            at += taken;
            c->left -= taken;
            if (!c->left && c->state == BODY) return end_message(c);
            if (!c->left) c->state = CHUNK_END;
            break;
        }
        case CHUNK_SIZE:
            if (*at == '\n') c->state = c->left ? CHUNK_DATA : TRAILER, c->trailer_count = 0;
            else if (*at != '\r') c->left = c->left * 16 + (uint64_t)hex(*at);
            at++;
            break;
        case CHUNK_END:
            if (*at++ == '\n') c->state = CHUNK_SIZE;
            break;
        case TRAILER:
            if (*at == '\n' && !c->trailer_count) return end_message(c);
            c->trailer_count = *at == '\n' ? 0 : c->trailer_count + (*at != '\r');
            at++;
            break;
        default: // bytes that nobody asked for
            close(c->socket);
            c->socket = -1;
            return;
        }
    }
}

static void on_event(struct connection *c, uint32_t what) {
    static char buffer[256 * 1024];
    if (c->state == CONNECTING || c->state == SENDING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->socket, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) return end_answer(c, 0, 0);
        if (what & EPOLLOUT) send_request(c);
        if (c->state != HEAD) return;
    }
    ssize_t count = recv(c->socket, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count > 0) return on_bytes(c, buffer, (size_t)count, now_ns());
    if (c->state != IDLE) return end_answer(c, 0, 0);
    close(c->socket);
    c->socket = -1;
}

static char *contents(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (!file) die("load: %s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *bytes = checked(malloc(size + 1));
    *count = fread(bytes, 1, size, file);
    bytes[*count] = 0;
    fclose(file);
    return bytes;
}

static void compose(const char *body_file, const char *authorization_file, int port) {
    static char text[801], small[2048], head[8192];
    size_t body_count, ignored;
    char *body = small, *line = authorization_file ? contents(authorization_file, &ignored) : "";
    for (int i = 0; i < 800; i++) text[i] = "the quick brown fox jumps over the lazy dog "[i % 44];
    if (body_file) body = contents(body_file, &body_count);
    else body_count = (size_t)snprintf(small, sizeof small,
        "{\"model\":\"bench-model\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},"
        "{\"role\":\"user\",\"content\":\"%s\"}],\"temperature\":0.7,\"max_tokens\":256,\"stream\":%s}",
        text, is_stream ? "true,\"stream_options\":{\"include_usage\":true}" : "false");
    do {
        int length = (int)strcspn(line, "\n");
        int count = snprintf(head, sizeof head,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: load\r\nAccept: */*\r\n%s%.*s%s"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
            port, length ? "Authorization: " : "", length, line, length ? "\r\n" : "", body_count);
        if (count >= (int)sizeof head) die("load: an authorization is too long");
        requests = checked(realloc(requests, sizeof *requests * (request_kinds + 1)));
        struct request *request = &requests[request_kinds++];
        request->count = (size_t)count + body_count;
        request->bytes = checked(malloc(request->count));
        memcpy(request->bytes, head, (size_t)count);
        memcpy(request->bytes + count, body, body_count);
        line += length + (line[length] == '\n');
    } while (*line);
}

int main(int argument_count, char **arguments) {
    const char *body_file = NULL, *authorization_file = NULL;
    int port = 0, connection_count = 1;
    uint64_t requests_max = UINT64_MAX, end = UINT64_MAX;
    double seconds = 0, ramp_ms = 0;
    for (int i = 1; i < argument_count; i++) {
        const char *name = arguments[i];
        if (!strcmp(name, "--stream")) { is_stream = 1; continue; }
        if (++i == argument_count) die("load: %s needs a value", name);
        const char *value = arguments[i];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--connections")) connection_count = atoi(value);
        else if (!strcmp(name, "--requests")) requests_max = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--events")) events_expected = atoi(value);
        else if (!strcmp(name, "--ramp-ms")) ramp_ms = atof(value);
        else if (!strcmp(name, "--authorization")) authorization_file = value;
        else if (!strcmp(name, "--skip")) skipped = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--body")) body_file = value;
        else die("load: unknown option %s", name);
    }
    int is_bounded = requests_max != UINT64_MAX || seconds > 0;
    if (!port || connection_count < 1 || connection_count > CONNECTIONS_MAX || !is_bounded)
        die("load: needs --port, 1 to %d --connections, and --requests or --seconds", CONNECTIONS_MAX);
    compose(body_file, authorization_file, port);
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = checked(calloc((size_t)connection_count, sizeof *connections));
    for (int i = 0; i < connection_count; i++) connections[i].socket = -1;

    uint64_t begin = now_ns(), next_sweep = begin;
    if (seconds > 0) end = begin + (uint64_t)(seconds * 1e9);
    finished_at = begin;
    struct epoll_event ready[256];
    for (;;) {
        uint64_t now = now_ns();
        // A sweep starts what may start and gives up what takes too long. After it each answer starts the next request.
        if (now >= next_sweep) {
            next_sweep = now + 1000000;
            int is_any_active = 0;
            for (int i = 0; i < connection_count; i++) {
                struct connection *c = &connections[i];
                int is_due = now - begin >= (uint64_t)(ramp_ms * 1e6 * i / connection_count);
                if (c->state == IDLE && is_due && started < requests_max && now < end) start(c, now);
                else if (c->state != IDLE && now - c->started > ANSWER_SECONDS_MAX * 1000000000ull) end_answer(c, 0, 0);
                is_any_active |= c->state != IDLE;
            }
            if (!is_any_active && (started >= requests_max || now >= end)) break;
        }
        struct timespec wait = {0, 1000000};
        int count = epoll_pwait2(epoll, ready, 256, &wait, NULL);
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c->socket < 0) continue;
            on_event(c, ready[i].events);
            if (c->state == IDLE && c->socket >= 0 && started < requests_max && (now = now_ns()) < end) start(c, now);
        }
    }
    printf("{\"answered\":%lu,\"failed\":%lu,\"bad_statuses\":%lu,\"seconds\":%.4f,\"events\":%lu,"
           "\"latency_p50_us\":%.1f,\"latency_p99_us\":%.1f,\"delay_p50_us\":%.1f,\"delay_p99_us\":%.1f}\n",
           answered, failed, statuses_bad, (double)(finished_at - begin) / 1e9, events_seen,
           quantile(&latencies, 0.5), quantile(&latencies, 0.99), quantile(&delays, 0.5), quantile(&delays, 0.99));
    return 0;
}
