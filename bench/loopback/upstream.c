// A provider that costs almost nothing: the Messages wire on 127.0.0.1, one thread.
//
// usage: upstream PORT
//
// A request whose body says "stream":true gets 36 events, each in a chunk and a write of its own, any other one JSON
// message of about 1 KB. "pace=N" in the body leaves N microseconds between two events, else one event is sent to
// every stream in turn.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 16384
#define DELTAS 30

typedef struct Connection {
    int fd, event; // the next event to send; -1: no stream
    uint64_t due_us, pace_us;
    struct Connection *next; // streams, in the order in which they are due
    int gone;
    size_t length, room;
    char *buffer;
} Connection;

static Connection *first, *last;
static char *events[DELTAS + 6], message[4096];
static size_t event_length[DELTAS + 6], message_length;
static int event_count;
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    "request-id: req_0123456789\r\ntransfer-encoding: chunked\r\n\r\n";

static uint64_t now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000ull + at.tv_nsec / 1000;
}

static void add_event(const char *kind, const char *data) {
    char text[2048];
    int length = snprintf(text, sizeof text, "event: %s\ndata: {\"type\":\"%s\"%s}\n\n", kind, kind, data);
    events[event_count] = malloc(length + 32);
    event_length[event_count] = sprintf(events[event_count], "%x\r\n%s\r\n", length, text);
    event_count++;
}

static void prepare(void) {
    const char *usage = "\"usage\":{\"input_tokens\":412,\"cache_creation_input_tokens\":0,"
                        "\"cache_read_input_tokens\":0,\"output_tokens\":128}";
    char text[640] = "", body[2048], data[1024];
    while (strlen(text) < 560) strcat(text, "The quick brown fox jumps over the lazy dog. ");
    int length = snprintf(body, sizeof body,
        "{\"id\":\"msg_0123456789\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-20250514\","
        "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,%s}",
        text, usage);
    message_length = snprintf(message, sizeof message,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_0123456789\r\n"
        "anthropic-organization-id: 00000000-0000-0000-0000-000000000000\r\n"
        "anthropic-ratelimit-requests-limit: 4000\r\nanthropic-ratelimit-requests-remaining: 3999\r\n"
        "content-length: %d\r\n\r\n%s", length, body);
    snprintf(data, sizeof data,
        ",\"message\":{\"id\":\"msg_0123456789\",\"type\":\"message\",\"role\":\"assistant\","
        "\"model\":\"claude-sonnet-4-20250514\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,%s}", usage);
    add_event("message_start", data);
    add_event("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
    for (int number = 0; number < DELTAS; number++) {
        snprintf(data, sizeof data,
            ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word number %d\"}", number);
        add_event("content_block_delta", data);
    }
    add_event("content_block_stop", ",\"index\":0");
    add_event("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},"
                               "\"usage\":{\"output_tokens\":128}");
    add_event("message_stop", "");
    event_length[event_count - 1] += sprintf(events[event_count - 1] + event_length[event_count - 1], "0\r\n\r\n");
}

static int put(Connection *to, const char *data, size_t length) {
    while (length > 0) {
        ssize_t written = send(to->fd, data, length, MSG_NOSIGNAL);
        if (written < 0 && errno == EAGAIN) {
            usleep(50); // small answers to readers that read: this hardly happens
            continue;
        }
        if (written < 0) return -1;
        data += written, length -= written;
    }
    return 0;
}

static void drop(Connection *one) {
    if (one->event >= 0) { // still in line
        one->gone = 1;
        return;
    }
    close(one->fd);
    free(one->buffer);
    free(one);
}

static void line_up(Connection *one, uint64_t due_us) {
    one->due_us = due_us, one->next = NULL;
    if (last) last->next = one;
    else first = one;
    last = one;
}

static void step(Connection *one, uint64_t at_us) {
    if (one->gone || put(one, events[one->event], event_length[one->event]) < 0) {
        one->event = -1, one->gone = 1;
        return;
    }
    if (++one->event == event_count) one->event = -1;
    else line_up(one, at_us + one->pace_us);
}

// Answer every whole request that has come.
static void serve(Connection *one) {
    while (one->event < 0) {
        char *end = memmem(one->buffer, one->length, "\r\n\r\n", 4);
        if (!end) return;
        size_t head = end + 4 - one->buffer, body = 0, whole = 0;
        for (char *line = one->buffer; line < end; line = strstr(line, "\r\n") + 2) {
            if (!strncasecmp(line, "content-length:", 15)) body = strtoul(line + 15, NULL, 10);
            if (!strncasecmp(line, "transfer-encoding:", 18)) whole = 1;
        }
        if (whole) { // chunked: to its end
            char *stop = memmem(end, one->length - (end - one->buffer), "\r\n0\r\n\r\n", 7);
            if (!stop) return;
            body = stop + 7 - (end + 4);
        }
        if (one->length < head + body) return;
        char *said = one->buffer + head, *pace = memmem(said, body, "pace=", 5);
        int streamed = memmem(said, body, "\"stream\":true", 13) || memmem(said, body, "\"stream\": true", 14);
        one->pace_us = pace ? strtoull(pace + 5, NULL, 10) : 0;
        one->length -= head + body;
        memmove(one->buffer, said + body, one->length);
        one->buffer[one->length] = 0;
        if (!streamed) {
            put(one, message, message_length);
        } else if (put(one, STREAM_HEAD, sizeof STREAM_HEAD - 1) == 0) {
            one->event = 0;
            step(one, now_us());
        }
    }
}

static int receive(Connection *one) {
    if (one->room - one->length < 65536) one->buffer = realloc(one->buffer, one->room *= 2);
    ssize_t got = recv(one->fd, one->buffer + one->length, one->room - one->length - 1, 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return -1;
    one->length += got;
    one->buffer[one->length] = 0;
    serve(one);
    return 0;
}

static void accept_all(int listener, int poll) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *made = calloc(1, sizeof *made);
        made->fd = fd, made->event = -1, made->room = 131072, made->buffer = malloc(made->room);
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = made});
    }
}

// One event to every stream that is due.
static void tick(void) {
    uint64_t at_us = now_us();
    Connection *until = last;
    while (first && first->due_us <= at_us) {
        Connection *one = first;
        first = one->next;
        if (!first) last = NULL;
        int was_last = one == until;
        step(one, at_us);
        if (one->event < 0 && one->gone) drop(one);
        else if (one->event < 0 && one->length) serve(one);
        if (was_last) break;
    }
}

int main(int count, char **given) {
    if (count != 2) return fprintf(stderr, "usage: upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    prepare();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(atoi(given[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 1024)) return perror("upstream"), 1;
    int poll = epoll_create1(0);
    struct epoll_event found[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    for (;;) {
        uint64_t at_us = now_us();
        int wait_ms = !first ? -1 : first->due_us <= at_us ? 0 : (int)((first->due_us - at_us + 999) / 1000);
        int number = epoll_wait(poll, found, 256, wait_ms);
        for (int index = 0; index < number; index++) {
            Connection *one_of = found[index].data.ptr;
            if (!one_of) {
                accept_all(listener, poll);
            } else if (receive(one_of) < 0) {
                epoll_ctl(poll, EPOLL_CTL_DEL, one_of->fd, NULL);
                drop(one_of);
            }
        }
        tick();
    }
}
