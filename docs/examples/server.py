"""A complete mutual-TLS server: it greets each client by the name it proved to have."""

import sys

import trio

from mtls_echo import Directory, TLSStream, serve, server_context


async def greet(stream: TLSStream) -> None:
    """Answer each line. TLS is a stream of bytes: a line may come in pieces, or with others."""
    name, begun = str(stream.peer).encode(), b""
    while len(begun) < 1000 and (data := await stream.receive_some()):
        *lines, begun = (begun + data).split(b"\n")
        for line in lines:
            await stream.send_all(b"hello %s, you said: %s\n" % (name, line))


async def main(address: str, directory: str) -> None:
    """Serve until Ctrl-C."""
    pki, _ = Directory.open_or_create(directory)
    await serve(server_context(pki.credential("server"), pki.trust("clients")), address, greet)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
