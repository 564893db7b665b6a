"""What a mail reader makes of the message in a file, as JSON."""

import base64
import email
import email.policy
import json
import sys

with open(sys.argv[1], "rb") as file:
    message = email.message_from_binary_file(file, policy=email.policy.default)


def part(part):
    content = part.get_payload(decode=True)
    return {
        "type": part.get_content_type(),
        "disposition": part.get_content_disposition(),
        "name": part.get_filename(),
        "cid": part["content-id"],
        "parts": [child.get_content_type() for child in part.iter_parts()] if part.is_multipart() else [],
        "content": base64.b64encode(content).decode() if content is not None else None,
    }


def people(name):
    header = message[name]
    return [[a.display_name, a.addr_spec] for a in header.addresses] if header else []


print(json.dumps({
    "headers": {name.lower(): str(value) for name, value in message.items()},
    "to": people("to"),
    "cc": people("cc"),
    "from": people("from"),
    "defects": [str(d) for p in message.walk() for d in p.defects],
    "parts": [part(p) for p in message.walk()],
}))
