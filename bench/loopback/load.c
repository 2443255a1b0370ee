// Calls one address over kept connections, and tells how quickly it answers. One thread, 127.0.0.1 only.
//
// usage: load PORT PATH BODY_FILE SECONDS CONNECTIONS RATE [HEADER...]
//
// RATE 0: every connection asks again as soon as it is answered, for half a second before the time begins and then
// for SECONDS. Else RATE requests begin a second, each on a connection that is free, and its time counts from when it
// should have begun. When the time begins, "begin" is printed; after it one JSON object, times in microseconds.
// "NONCE00000" in the body becomes another number in each request. An event stream must end with "message_stop".
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

#define WARM_UP_US 500000
#define MOST_TIMES 20000000
#define TAIL 96

typedef enum { HEAD, SIZED, CHUNK_SIZE, CHUNK, CHUNK_END, LAST_END } Part;

typedef struct {
    int fd, busy, status, streamed, closes;
    size_t sent;
    uint64_t began_us;
    Part part;
    long left;
    size_t head_length, tail_length;
    char head[16384], tail[TAIL];
} Connection;

static char *request, *nonce, failure[200];
static size_t request_length, times_count;
static uint64_t begins_us, ends_us, sequence, errors, cut;
static uint32_t *times;
static int port, poll_fd;

static uint64_t now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000ull + at.tv_nsec / 1000;
}

static void connect_to(Connection *one) {
    int yes = 1;
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(one->fd, (void *)&at, sizeof at)) {
        perror("load: connect");
        exit(1);
    }
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, one->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = one});
    one->busy = 0;
}

static void flush(Connection *one) {
    while (one->sent < request_length) {
        ssize_t written = send(one->fd, request + one->sent, request_length - one->sent, MSG_NOSIGNAL);
        if (written < 0) return;
        one->sent += written;
    }
}

static void ask(Connection *one, uint64_t began_us) {
    if (nonce) {
        uint64_t rest = ++sequence;
        for (int place = 9; place >= 0; place--, rest /= 10) nonce[place] = '0' + rest % 10;
    }
    one->busy = 1, one->sent = 0, one->began_us = began_us;
    one->part = HEAD, one->head_length = one->tail_length = 0, one->closes = 0;
    flush(one);
}

static void note_failure(Connection *one, const char *what) {
    errors++;
    if (!failure[0]) snprintf(failure, sizeof failure, "status %d: %s", one->status, what);
    for (char *place = failure; *place; place++)
        if (*place < 32 || *place == '"' || *place == '\\') *place = '\'';
}

static void ended(Connection *one) {
    uint64_t at_us = now_us();
    one->busy = 0;
    if (one->status != 200) note_failure(one, one->tail);
    else if (one->streamed && !memmem(one->tail, one->tail_length, "message_stop", 12)) note_failure(one, "a cut stream");
    else if (at_us >= begins_us && at_us < ends_us && times_count < MOST_TIMES) times[times_count++] = at_us - one->began_us;
    if (one->closes) {
        close(one->fd);
        connect_to(one);
    }
}

static void keep_tail(Connection *one, const char *data, size_t length) {
    if (length > TAIL) data += length - TAIL, length = TAIL;
    size_t kept = one->tail_length + length > TAIL ? TAIL - length : one->tail_length;
    memmove(one->tail, one->tail + one->tail_length - kept, kept);
    memcpy(one->tail + kept, data, length);
    one->tail_length = kept + length;
}

static void read_head(Connection *one) {
    int chunked = 0;
    one->head[one->head_length] = 0;
    one->status = atoi(one->head + 9), one->streamed = 0, one->left = 0;
    for (char *line = one->head; (line = strstr(line, "\r\n")); line += 2) {
        char *field = line + 2;
        if (!strncasecmp(field, "content-length:", 15)) one->left = atol(field + 15);
        if (!strncasecmp(field, "transfer-encoding: chunked", 26)) chunked = 1;
        if (!strncasecmp(field, "content-type: text/event-stream", 31)) one->streamed = 1;
        if (!strncasecmp(field, "connection: close", 17)) one->closes = 1;
    }
    one->part = chunked ? CHUNK_SIZE : SIZED;
    one->head_length = 0; // from here on it holds the line with a chunk's size
}

// Take what came; the connection is no longer busy when the answer is whole.
static void take(Connection *one, const char *data, size_t length) {
    while (length > 0 && one->busy) {
        size_t step = 1;
        switch (one->part) {
        case HEAD:
        case CHUNK_SIZE:
            if (one->head_length >= sizeof one->head - 1) exit(fprintf(stderr, "load: a head without end\n"));
            one->head[one->head_length++] = *data;
            if (*data != '\n') break;
            if (one->part == HEAD && one->head_length >= 4 && !memcmp(one->head + one->head_length - 4, "\r\n\r\n", 4)) {
                read_head(one);
                if (one->part == SIZED && one->left == 0) ended(one);
            } else if (one->part == CHUNK_SIZE) {
                one->left = strtol(one->head, NULL, 16), one->head_length = 0;
                one->part = one->left ? CHUNK : LAST_END;
                one->left = one->left ? one->left : 2;
            }
            break;
        case SIZED:
        case CHUNK:
            step = length < (size_t)one->left ? length : (size_t)one->left;
            keep_tail(one, data, step);
            one->left -= step;
            if (one->left > 0) break;
            if (one->part == SIZED) ended(one);
            else one->part = CHUNK_END, one->left = 2;
            break;
        case CHUNK_END:
            if (--one->left == 0) one->part = CHUNK_SIZE;
            break;
        case LAST_END:
            if (--one->left == 0) ended(one);
            break;
        }
        data += step, length -= step;
    }
}

static void receive(Connection *one) {
    static char block[262144];
    ssize_t got = recv(one->fd, block, sizeof block, 0);
    if (got > 0) {
        take(one, block, got);
    } else if (got == 0 || errno != EAGAIN) {
        if (one->busy) cut++, note_failure(one, "the connection was closed");
        close(one->fd);
        connect_to(one);
    }
}

static int by_size(const void *one, const void *other) {
    uint32_t left = *(const uint32_t *)one, right = *(const uint32_t *)other;
    return left < right ? -1 : left > right;
}

static uint32_t quantile(double share) { return times_count ? times[(size_t)((times_count - 1) * share)] : 0; }

static void read_request(const char *path, const char *file, char **headers, int header_count) {
    static char body[1 << 22], lines[65536];
    FILE *from = fopen(file, "r");
    if (!from) exit((perror(file), 1));
    size_t length = fread(body, 1, sizeof body, from);
    fclose(from);
    for (int index = 0; index < header_count; index++) strcat(strcat(lines, headers[index]), "\r\n");
    request = malloc(length + sizeof lines + 512);
    int head = sprintf(request,
        "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n%scontent-length: %zu\r\n\r\n",
        path, port, lines, length);
    memcpy(request + head, body, length);
    request_length = head + length;
    nonce = memmem(request, request_length, "NONCE00000", 10);
    sequence = (now_us() / 1000) % 90000 * 100000;
}

int main(int count, char **given) {
    if (count < 7) return fprintf(stderr, "usage: load PORT PATH BODY_FILE SECONDS CONNECTIONS RATE [HEADER...]\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    port = atoi(given[1]);
    double seconds = atof(given[4]), rate = atof(given[6]);
    int connections = atoi(given[5]), begun = 0;
    read_request(given[2], given[3], given + 7, count - 7);
    times = malloc(MOST_TIMES * sizeof *times);
    poll_fd = epoll_create1(0);
    Connection *all = calloc(connections, sizeof *all);
    for (int index = 0; index < connections; index++) connect_to(&all[index]);
    begins_us = now_us() + WARM_UP_US, ends_us = begins_us + seconds * 1e6;
    uint64_t next_us = now_us();
    struct epoll_event found[512];
    for (uint64_t at_us; (at_us = now_us()) < ends_us;) {
        if (!begun && at_us >= begins_us) begun = puts("begin"), fflush(stdout);
        for (int index = 0; index < connections && (!rate || next_us <= at_us); index++) {
            if (all[index].busy) continue;
            ask(&all[index], rate ? next_us : now_us());
            if (rate) next_us += 1e6 / rate;
        }
        int number = epoll_pwait2(poll_fd, found, 512,
            &(struct timespec){.tv_nsec = rate ? (next_us > at_us ? (next_us - at_us) * 1000 % 1000000000 : 0) : 5000000}, NULL);
        for (int index = 0; index < number; index++) {
            Connection *one = found[index].data.ptr;
            if (one->busy && one->sent < request_length) flush(one);
            receive(one);
            if (!rate && !one->busy) ask(one, now_us());
        }
    }
    qsort(times, times_count, sizeof *times, by_size);
    printf("{\"count\":%zu,\"per_second\":%.1f,\"p50_us\":%u,\"p99_us\":%u,\"errors\":%lu,\"cut\":%lu,\"failure\":\"%s\"}\n",
        times_count, times_count / seconds, quantile(0.5), quantile(0.99), errors, cut, failure);
    return 0;
}
