"""Runs every operation of a broker from its /openapi.json alone.

    pip install requests
    keyward dev &
    python3 service/openapi/testdata/run.py https://127.0.0.1:7444 .keyward

The second argument is the folder of keyward dev, for its CA and its admin's
certificate. What each operation leaves behind is what the next one needs.
"""

import sys

import requests

# An operation, and the operation whose reply's link fills it in.
TOUR = [
    ("SetSecret", None),
    ("GetSecret", None),
    ("GetSecret", "GetSecret"),
    ("GetSecretVersion", "SetSecret"),
    ("UpdateSecret", None),
    ("UpdateSecretVersion", "SetSecret"),
    ("BatchGetSecrets", None),
    ("GenerateSecret", None),
    ("ListSecretVersions", None),
    ("ListSecrets", None),
    ("BackupSecret", None),
    ("DeleteSecret", None),
    ("GetDeletedSecret", None),
    ("ListDeletedSecrets", None),
    ("UndeleteSecret", None),
    ("DeleteSecret", None),
    ("PurgeSecret", None),
    ("RestoreSecret", "BackupSecret"),
    ("DeleteSecret", None),
    ("PurgeSecret", None),
]


def evaluate(expression, parameters, reply):
    """The value of a link's runtime expression."""
    if expression == "$response.body":
        return reply.json()
    source, _, rest = expression.partition(".")
    if source == "$request":
        return parameters[rest.split(".", 1)[1]]
    if rest.startswith("header."):
        return reply.headers[rest.removeprefix("header.")]
    value = reply.json()
    for key in rest.removeprefix("body#/").split("/"):
        value = value[key]
    return value


def main(base, folder):
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would come before verify
    session.verify = f"{folder}/ca.pem"
    described = session.get(f"{base}/openapi.json")
    described.raise_for_status()
    spec = described.json()
    session.cert = (f"{folder}/admin.pem", f"{folder}/admin-key.pem")

    operations = {
        o["operationId"]: (method, path, o)
        for path, methods in spec["paths"].items()
        for method, o in methods.items()
    }
    last, failed = {}, 0
    for name, source in TOUR:
        method, path, o = operations[name]
        values = {p["name"]: p["example"] for p in o.get("parameters", []) if "example" in p}
        body = o["requestBody"]["content"]["application/json"]["example"] if "requestBody" in o else None
        if source:
            parameters, reply = last[source]
            links = operations[source][2]["responses"]["200"]["links"].values()
            link = next(l for l in links if l["operationId"] == name)
            for key, expression in link["parameters"].items():
                values[key] = evaluate(expression, parameters, reply)
            if "requestBody" in link:
                body = evaluate(link["requestBody"], parameters, reply)
        query, headers = {}, {}
        for p in o.get("parameters", []):
            if p["name"] not in values:
                continue
            value = str(values[p["name"]])
            if p["in"] == "path":
                path = path.replace("{" + p["name"] + "}", value)
            else:
                (query if p["in"] == "query" else headers)[p["name"]] = value
        reply = session.request(method, base + path, params=query, headers=headers, json=body)
        fine = reply.status_code < 400 and str(reply.status_code) in o["responses"]
        failed += not fine
        print("ok  " if fine else "FAIL", reply.status_code, method.upper(), path, "" if fine else reply.text)
        last[name] = (values, reply)
    left = set(operations) - {name for name, _ in TOUR}
    if left:
        print("FAIL not run:", *sorted(left))
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
