"""A complete mutual-TLS client: one question, one answer, or the reason why there is none."""

import sys

import trio

from mtls_echo_client import client_context, connect
from mtls_echo_pki import Directory
from mtls_echo_tls import TLSFailure


async def main(host: str, port: str, directory: str) -> None:
    pki, _ = Directory.open_or_create(directory)
    context = client_context(pki.trust("servers"), pki.credential("client"))
    try:
        async with await connect(host, int(port), context) as session:
            await session.stream.send_all(b"good morning\n")
            print((await session.stream.receive_some()).decode(), end="")
    except TLSFailure as failure:
        sys.exit(f"{failure.report.summary}; {failure.report.remedy}")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
