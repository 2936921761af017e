#!/usr/bin/python3
"""Keys of an AWS role from a local endpoint: a stub that follows the public descriptions of the instance metadata service (IMDSv2) and of the
container credentials endpoint, and one of S3 that remembers whose keys signed what. (Signatures themselves: clouds_test.py.)"""
import json
import re
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
from north import North
from testsite import wait_for


class Endpoint(north.HttpStub):
    """Both services. `life`: of the keys it hands out; each is another."""

    class Handler(north.HttpStub.Handler):
        def answer(self, status, body, kind="text/plain"):
            body = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self):
            stub = self.server
            if stub.off:
                return self.answer(403, "")
            ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            if self.path != "/latest/api/token" or not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
                return self.answer(400, "")
            self.answer(200, "token-1==")

        def do_GET(self):
            stub, folder = self.server, "/latest/meta-data/iam/security-credentials/"
            if self.path == "/v2/credentials/abc":  # a container's
                return self.keys() if self.headers.get("Authorization") == "Bearer geheim" else self.answer(401, "")
            if self.headers.get("X-aws-ec2-metadata-token") != "token-1==":
                return self.answer(401, "")
            if self.path == folder:
                return self.answer(200, "plant-role") if stub.has_role else self.answer(404, "")
            return self.keys() if self.path == folder + "plant-role" else self.answer(404, "")

        def keys(self):
            stub = self.server
            if stub.lie is not None:
                return self.answer(200, stub.lie)
            stub.given += 1
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + stub.life))
            self.answer(200, json.dumps({"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": f"KEY{stub.given}",
                                         "SecretAccessKey": "secret/+x", "Token": f"TOKEN{stub.given}==", "Expiration": until}), "application/json")

    def __init__(self, life=3600):
        self.life, self.given, self.off, self.has_role, self.lie = life, 0, False, True, None
        super().__init__(self.Handler)


class Bucket(north.HttpStub):
    """Takes objects; remembers (key, token) of each, and refuses those whose key is in `over`."""

    class Handler(Endpoint.Handler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            key = re.search(r"Credential=(\w+)/", self.headers["Authorization"]).group(1)
            token = self.headers.get("X-Amz-Security-Token", "")
            if "x-amz-security-token" not in self.headers["Authorization"]:
                return self.answer(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>")
            if key in self.server.over:
                self.server.refused.append(key)
                return self.answer(400, "<Error><Code>ExpiredToken</Code></Error>", "application/xml")
            self.server.signed.append((key, token))
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def __init__(self):
        self.signed, self.over, self.refused = [], set(), []
        super().__init__(self.Handler)


class Roles(North):
    def begin(self, life=3600, how="instance", more=""):
        self.endpoint, self.bucket = Endpoint(life), Bucket()
        self.addCleanup(self.endpoint.end)
        self.addCleanup(self.bucket.end)
        return self.uplink(how, more)

    def uplink(self, how, more, path=""):
        return (f'dialect = "s3"\nbucket = "plant"\nregion = "eu-central-1"\nobject_interval = "0s"\n'
                f'credentials_from = "{how}"\ncredentials_url = "{self.endpoint.url}{path}"\n{more}')

    def state(self):
        return next(one for one in self.status()["uplinks"] if one["name"] == "history")

    def test_an_instance_and_keys_that_are_renewed_before_they_are_over(self):
        uplink = self.begin(life=8)
        self.start(self.bucket.url, uplink)
        self.publish(10)
        wait_for(lambda: self.bucket.signed, "an object")
        self.assertEqual(self.bucket.signed[0], ("KEY1", "TOKEN1=="))
        began, states = time.monotonic(), set()
        while time.monotonic() - began < 14:
            self.publish(5)
            states.add(self.state()["state"])
        self.drained()
        used = list(dict.fromkeys(key for key, _ in self.bucket.signed))
        self.assertEqual(used[:3], ["KEY1", "KEY2", "KEY3"])
        self.assertEqual(self.endpoint.given, len(used), "each is asked for once")
        self.assertEqual(states, {"up"}, "nobody noticed")

    def test_an_endpoint_that_is_off_lies_or_has_no_role(self):
        uplink = self.begin()
        self.endpoint.off = True
        self.start(self.bucket.url, uplink)
        self.publish(10)
        wait_for(lambda: "HTTP 403" in self.state()["state"], "why it waits")
        self.assertTrue(self.state()["blocked"])
        self.endpoint.off = False
        for lie in ("<html>sign in</html>", "", "{}", json.dumps({"Code": "AssumeRoleUnauthorizedAccess", "Message": "no"}),
                    json.dumps({"AccessKeyId": "A\nB", "SecretAccessKey": "s", "Token": "t", "Expiration": "2036-01-01T00:00:00Z"}),
                    json.dumps({"AccessKeyId": "A", "SecretAccessKey": "s", "Token": "t", "Expiration": "2016-01-01T00:00:00Z"}), "x" * 300_000):
            with self.subTest(lie=lie[:60]):
                self.endpoint.lie = lie
                done = self.command("check", "--online")
                self.assertIn("keys of the instance's role", done.stdout + done.stderr)
        self.endpoint.lie, self.endpoint.has_role = None, False
        done = self.command("check", "--online")
        self.assertIn("has the instance a role?", done.stdout + done.stderr)
        self.endpoint.has_role = True
        self.assertEqual(self.bucket.signed, [])
        self.drained(60)
        self.assertEqual(self.bucket.signed[0][0], "KEY1")

    def test_keys_that_the_server_does_not_take_are_asked_for_anew(self):
        uplink = self.begin()
        self.bucket.over.add("KEY1")
        self.start(self.bucket.url, uplink)
        self.publish(10)
        self.drained(60)
        self.assertEqual((self.bucket.refused, self.bucket.signed[0][0]), (["KEY1"], "KEY2"))

    def test_a_container_shows_its_token(self):
        self.begin()
        token = self.folder / "container.token"
        token.write_text("Bearer geheim")
        token.chmod(0o600)
        self.start(self.bucket.url, self.uplink("container", f'credentials_token_file = "{token}"\n', "/v2/credentials/abc"))
        self.publish(10)
        self.drained()
        self.assertEqual(self.bucket.signed[0], ("KEY1", "TOKEN1=="))

    def test_check_says_what_cannot_be(self):
        for more, words in (('credentials_from = "container"', "credentials_url"),
                            ('credentials_from = "instance"\ncredentials_url = "http://203.0.113.5"', "neither loopback nor link-local"),
                            ('credentials_from = "instance"\ncredentials_file = "/x"', "not from both"),
                            ('credentials_url = "http://127.0.0.1"', "is of a role"),
                            ("", "credentials_file is needed")):
            with self.subTest(more=more):
                self.port = 1883
                path = self.configure(north.CONFIG, port=18830, server="https://s3.example", timeout="5s",
                                      uplink=f'dialect = "s3"\nbucket = "b"\nregion = "eu-central-1"\n{more}\n')
                done = self.command("check", config=path)
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(words, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
