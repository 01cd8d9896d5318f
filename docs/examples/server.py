"""A complete mutual-TLS server: it greets each client by the name it proved to have."""

import sys

import trio

from mtls_echo_pki import Directory
from mtls_echo_server import serve, server_context
from mtls_echo_tls import TLSStream


async def greet(stream: TLSStream) -> None:
    while line := await stream.receive_some():
        await stream.send_all(b"hello %s, you said: %s" % (str(stream.peer).encode(), line))


async def main(address: str, directory: str) -> None:
    pki, _ = Directory.open_or_create(directory)
    context = server_context(pki.credential("server"), pki.trust("clients"))
    await serve(context, address, greet)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
