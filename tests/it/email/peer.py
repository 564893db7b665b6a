"""An SMTP server of aiosmtpd: peer.py FOLDER plain|starttls|tls [CERT KEY]. It prints its port, and puts each mail into
FOLDER as N.eml. With a certificate it wants a login."""

import asyncio
import pathlib
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

# It says that a login without STARTTLS is not safe, also within TLS.
warnings.simplefilter("ignore")

folder, mode, *cert = sys.argv[1:]
count = 0


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 5.1.1 no such user"
        if address.startswith("grey"):
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        global count
        count += 1
        pathlib.Path(folder, f"{count}.eml").write_bytes(envelope.content)
        return f"250 taken as {count}"


def log_in(server, session, envelope, mechanism, data):
    good = data.login == b"me" and data.password == b"open sesame"
    return AuthResult(success=good, handled=False)


async def main():
    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*cert)

    def session():
        return SMTP(
            Handler(),
            enable_SMTPUTF8=True,
            decode_data=False,
            data_size_limit=64 * 1024 * 1024,
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            auth_required=bool(cert),
            auth_require_tls=mode == "starttls",
            authenticator=log_in,
        )

    loop = asyncio.get_running_loop()
    tls = context if mode == "tls" else None
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
