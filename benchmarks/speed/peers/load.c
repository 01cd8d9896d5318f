/* The load generator: clients of mutual TLS with OpenSSL and epoll, one thread.
 *
 *   load PORT CERT KEY CA VERSION WORK CONNECTIONS SIZE SECONDS
 *
 *   VERSION  1.2 or 1.3
 *   WORK     handshakes: connect, shake hands, two bytes there and back, close; again
 *            resumed: the same, but each session resumes the one before on its place
 *            echoes: SIZE bytes there and back; again
 *            once: SIZE bytes there and back, one time on each connection, however long it takes
 *
 * It connects, prints "ready", waits for a line, works, prints one line of JSON, waits for another
 * line or the end of its input, and closes its connections. `python_load.py` does the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64, AT_ONCE = 16, WARM_UPS = 5, SAMPLES = 1 << 18, LONGEST = 1 << 20 };
enum stage { SETTING_UP, WORKING };

struct client {
    int socket;
    int interest;
    int warm_ups;
    long to_send, to_receive;
    double began;
    SSL *ssl;
    SSL_SESSION *session;
};

static SSL_CTX *context;
static struct client *clients;
static int poller, port, connections, started, active, sessions, resuming, once;
static long message, operations, resumed;
static double until;
static enum stage stage;
static unsigned char block[LONGEST], scratch[65536];
static float *samples;

static void die(const char *what) {
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void open_connection(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int on = 1;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (client->socket < 0 ||
        connect(client->socket, (struct sockaddr *)&address, sizeof address))
        die("connect");
    fcntl(client->socket, F_SETFL, O_NONBLOCK);
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    client->ssl = SSL_new(context);
    SSL_set_fd(client->ssl, client->socket);
    SSL_set_tlsext_host_name(client->ssl, "localhost");
    SSL_set1_host(client->ssl, "localhost");
    SSL_set_connect_state(client->ssl);
    if (client->session)
        SSL_set_session(client->ssl, client->session);
    client->interest = EPOLLIN;
    epoll_ctl(poller, EPOLL_CTL_ADD, client->socket, &event);
}

static void close_connection(struct client *client) {
    if (resuming) {
        SSL_SESSION_free(client->session);
        client->session = SSL_get1_session(client->ssl);
    }
    SSL_shutdown(client->ssl);
    SSL_free(client->ssl);
    close(client->socket);
    client->ssl = NULL;
}

static void begin(struct client *client) {
    client->began = now(CLOCK_MONOTONIC);
    if (!client->ssl)
        open_connection(client);
    client->to_send = client->to_receive = stage == SETTING_UP && !sessions ? 64 : message;
}

/* Called when a message is back: whether this client goes on. */
static int go_on(struct client *client) {
    double time = now(CLOCK_MONOTONIC);
    if (stage == SETTING_UP) {
        if (sessions) { /* the first ones, for those that resume */
            close_connection(client);
            return 0;
        }
        return ++client->warm_ups < WARM_UPS;
    }
    if (operations < SAMPLES)
        samples[operations] = time - client->began;
    operations++;
    if (sessions) {
        resumed += SSL_session_reused(client->ssl);
        close_connection(client);
    }
    return !once && time < until;
}

static int blocked(struct client *client, int result, int *interest) {
    switch (SSL_get_error(client->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return 1;
    case SSL_ERROR_WANT_WRITE:
        *interest |= EPOLLOUT;
        return 1;
    default:
        return 0;
    }
}

static void step(struct client *client) {
    int result, interest;
    struct epoll_event event;
    for (;;) {
        interest = EPOLLIN;
        ERR_clear_error();
        while (client->to_send) {
            result = SSL_write(client->ssl, block, client->to_send);
            if (result <= 0) {
                if (!blocked(client, result, &interest))
                    die("send");
                break;
            }
            client->to_send -= result;
        }
        /* Not before the handshake is over: a read would finish it, and the message wait. */
        while (client->to_receive && SSL_is_init_finished(client->ssl)) {
            result = SSL_read(client->ssl, scratch, sizeof scratch);
            if (result <= 0) {
                if (!blocked(client, result, &interest))
                    die("receive");
                break;
            }
            client->to_receive -= result;
        }
        if (client->to_receive) {
            if (interest != client->interest) {
                client->interest = interest;
                event.events = interest;
                event.data.ptr = client;
                epoll_ctl(poller, EPOLL_CTL_MOD, client->socket, &event);
            }
            return;
        }
        if (!go_on(client)) {
            active--;
            return;
        }
        begin(client);
    }
}

static void run(int at_once) {
    struct epoll_event events[EVENTS];
    int i, ready;
    started = active = 0;
    for (;;) {
        while (active < at_once && started < connections) {
            active++;
            begin(&clients[started]);
            step(&clients[started++]);
        }
        if (!active)
            return;
        ready = epoll_wait(poller, events, EVENTS, -1);
        for (i = 0; i < ready; i++)
            if (((struct client *)events[i].data.ptr)->ssl)
                step(events[i].data.ptr);
    }
}

static int by_size(const void *one, const void *other) {
    float difference = *(const float *)one - *(const float *)other;
    return (difference > 0) - (difference < 0);
}

static void wait_for_a_line(void) {
    char line[16];
    if (!fgets(line, sizeof line, stdin) && stage == SETTING_UP)
        exit(1);
}

int main(int count, char **arguments) {
    double began, cpu, seconds;
    long kept;
    int i, version;
    if (count != 10)
        die("usage");
    port = atoi(arguments[1]);
    version = strcmp(arguments[5], "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION;
    resuming = !strcmp(arguments[6], "resumed");
    once = !strcmp(arguments[6], "once");
    sessions = resuming || !strcmp(arguments[6], "handshakes");
    connections = atoi(arguments[7]);
    message = atol(arguments[8]);
    seconds = atof(arguments[9]);
    if (message > LONGEST)
        die("size");
    signal(SIGPIPE, SIG_IGN);
    /* A server that hangs must not hang the measurement. */
    alarm((once ? 300 : 20) + (int)seconds);

    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, arguments[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[3], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(context, arguments[4], NULL) != 1)
        die("material");
    memset(block, 'x', sizeof block);
    block[1] = block[63] = '\n'; /* for a server that echoes lines */
    clients = calloc(connections, sizeof *clients);
    samples = malloc(SAMPLES * sizeof *samples);
    poller = epoll_create1(0);

    if (!sessions || resuming)
        run(AT_ONCE);
    printf("ready\n");
    fflush(stdout);
    wait_for_a_line();

    stage = WORKING;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    began = now(CLOCK_MONOTONIC);
    until = began + seconds;
    run(once ? AT_ONCE : connections);
    kept = operations < SAMPLES ? operations : SAMPLES;
    qsort(samples, kept, sizeof *samples, by_size);
    printf("{\"operations\": %ld, \"seconds\": %.6f, \"cpu\": %.6f, \"resumed\": %ld, "
           "\"p50\": %.6f, \"p99\": %.6f}\n",
           operations, now(CLOCK_MONOTONIC) - began, now(CLOCK_PROCESS_CPUTIME_ID) - cpu, resumed,
           kept ? samples[kept / 2] : 0, kept ? samples[kept * 99 / 100] : 0);
    fflush(stdout);
    wait_for_a_line();
    for (i = 0; i < connections; i++)
        if (clients[i].ssl)
            close_connection(&clients[i]);
    return 0;
}
