"""A complete mutual-TLS client: one question, one answer, or the reason why there is none."""

import sys

import trio

from mtls_echo import Directory, TLSFailure, client_context, connect


async def ask(host: str, port: int, directory: str) -> None:
    """Ask, and print the answer when its line is complete."""
    pki, _ = Directory.open_or_create(directory)
    context = client_context(pki.trust("servers"), pki.credential("client"))
    try:
        async with await connect(host, port, context) as session:
            await session.send(b"good morning\n")
            answer = await session.receive()
            while not answer.endswith(b"\n"):
                answer += await session.receive()
    except TLSFailure as failure:
        sys.exit(f"{failure.report.summary}; {failure.report.remedy}")
    print(answer.decode(), end="")


if __name__ == "__main__":
    trio.run(ask, sys.argv[1], int(sys.argv[2]), sys.argv[3])
