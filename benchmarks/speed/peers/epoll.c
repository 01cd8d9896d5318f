/* An echo server with OpenSSL and epoll, one thread: what a server of mutual TLS needs at least.
 *
 *   epoll CERT KEY CA tickets=N [release-buffers]     mutual TLS
 *   epoll plain                                       no TLS: what stands behind a proxy
 *
 * It prints its port and serves 127.0.0.1 until it is killed. Everything else is as OpenSSL has it.
 */
#define _GNU_SOURCE
#include <errno.h>
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
#include <unistd.h>

enum { RECORD = 16384, EVENTS = 64 };

struct peer {
    int socket;
    int interest;
    SSL *ssl;               /* NULL: no TLS */
    unsigned char *pending; /* what could not be sent yet */
    int left;
};

static int poller;
static unsigned char buffer[RECORD];

static void die(const char *what) {
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void end(struct peer *peer) {
    if (peer->ssl)
        SSL_free(peer->ssl);
    close(peer->socket);
    free(peer->pending);
    free(peer);
}

static void wait_for(struct peer *peer, int interest) {
    struct epoll_event event = {.events = interest, .data.ptr = peer};
    if (interest == peer->interest)
        return;
    peer->interest = interest;
    epoll_ctl(poller, EPOLL_CTL_MOD, peer->socket, &event);
}

/* Both return the number of bytes, 0 at the end or after an error, -1 if there is to be waited. */
static int receive(struct peer *peer) {
    int size, error;
    if (!peer->ssl) {
        size = recv(peer->socket, buffer, sizeof buffer, 0);
        return size >= 0 ? size : errno == EAGAIN ? -1 : 0;
    }
    ERR_clear_error();
    size = SSL_read(peer->ssl, buffer, sizeof buffer);
    if (size > 0)
        return size;
    error = SSL_get_error(peer->ssl, size);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        wait_for(peer, error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT);
        return -1;
    }
    if (error == SSL_ERROR_ZERO_RETURN)
        SSL_shutdown(peer->ssl);
    return 0;
}

static int answer(struct peer *peer, const unsigned char *data, int size) {
    int sent, error;
    if (!peer->ssl) {
        sent = send(peer->socket, data, size, MSG_NOSIGNAL);
        return sent >= 0 ? sent : errno == EAGAIN ? -1 : 0;
    }
    ERR_clear_error();
    sent = SSL_write(peer->ssl, data, size);
    if (sent > 0)
        return sent;
    error = SSL_get_error(peer->ssl, sent);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? -1 : 0;
}

static void serve(struct peer *peer) {
    int size, sent;
    if (peer->left) {
        sent = answer(peer, peer->pending, peer->left);
        if (sent < 0)
            return;
        if (sent == 0) {
            end(peer);
            return;
        }
        peer->left -= sent;
        memmove(peer->pending, peer->pending + sent, peer->left);
        if (peer->left)
            return;
        free(peer->pending);
        peer->pending = NULL;
        wait_for(peer, EPOLLIN);
    }
    do {
        size = receive(peer);
        if (size < 0)
            return;
        sent = size == 0 ? 0 : answer(peer, buffer, size);
        if (sent == 0) {
            end(peer);
            return;
        }
        if (sent < size) {
            sent = sent < 0 ? 0 : sent;
            peer->left = size - sent;
            peer->pending = malloc(peer->left);
            memcpy(peer->pending, buffer + sent, peer->left);
            wait_for(peer, EPOLLOUT);
            return;
        }
        /* A short record mostly is the last: to ask whether there is more would cost a call. */
    } while (size == RECORD || (peer->ssl && SSL_has_pending(peer->ssl)));
    wait_for(peer, EPOLLIN);
}

static SSL_CTX *context_of(int count, char **arguments) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int i, tickets;
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"echo", 4);
    if (SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[2], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(context, arguments[3], NULL) != 1)
        die("material");
    for (i = 4; i < count; i++) {
        if (sscanf(arguments[i], "tickets=%d", &tickets) == 1) {
            SSL_CTX_set_num_tickets(context, tickets);
            if (!tickets)
                SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        } else if (!strcmp(arguments[i], "release-buffers")) {
            SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        } else {
            die(arguments[i]);
        }
    }
    return context;
}

static void take(int listener, SSL_CTX *context) {
    struct epoll_event event = {.events = EPOLLIN};
    struct peer *peer;
    int on = 1, connection;
    while ((connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peer = calloc(1, sizeof *peer);
        peer->socket = connection;
        peer->interest = EPOLLIN;
        if (context) {
            peer->ssl = SSL_new(context);
            SSL_set_fd(peer->ssl, connection);
            SSL_set_accept_state(peer->ssl);
        }
        event.data.ptr = peer;
        epoll_ctl(poller, EPOLL_CTL_ADD, connection, &event);
    }
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    socklen_t size = sizeof address;
    SSL_CTX *context = NULL;
    int i, ready, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (count >= 4)
        context = context_of(count, arguments);
    else if (count != 2 || strcmp(arguments[1], "plain"))
        die("usage");
    signal(SIGPIPE, SIG_IGN);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        ready = epoll_wait(poller, events, EVENTS, -1);
        for (i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                take(listener, context);
        }
    }
}
