"""The cross-tenant prober for people: on endpoints that demand assertions (XUA), users of every role at nodes of every hospital ask ITI-18,
ITI-43, ITI-38 and ITI-39 for everything. What each must get follows from the roles of the assertion and the hospital of the node. A share of the
probes here, all of them with MUSUBI_FULL=1."""

import collections
import itertools
import random

from conformance import client as xds
from tests.harness import region as places, saml
from tests.integration import common, test_prober, test_xua

SHARE = 1.0 if common.IS_FULL else 0.03
UNKNOWN = "porter"  # a role of which the server was told nothing
TWO_ROLES = ("clerk", "pharmacist")  # one only views, the other may see no confidentiality code


def users_of(region, facility):
    """People of a hospital. Those with a role use a node that alone may see nothing, or the one that may see most."""
    nodes = {n.role: n for n in region.nodes if n.facility == facility and not n.is_operator}
    poor, rich = nodes["auditor"], nodes["physician"]
    for number, role in enumerate(places.ROLES):
        node = (poor, rich)[(number + places.FACILITIES.index(facility)) % 2]
        yield places.User(f"prober.{role}-{facility}", node, (role,))
    yield places.User(f"prober.none-{facility}", nodes["nurse"])
    yield places.User(f"prober.unknown-{facility}", rich, (UNKNOWN,))
    yield places.User(f"prober.two-{facility}", poor, TWO_ROLES)
    yield places.User(f"prober.emergency-{facility}", poor, ("physician",), is_emergency=True)
    yield places.User(f"prober.no-emergency-{facility}", rich, ("nurse",), is_emergency=True)


class UserProber(test_prober.ProberCase):
    """0 leaks, 0 missing, and every question on record with who asked."""

    settings = {**test_prober.ProberCase.settings,
                "xua": {"registry": "require", "repository": "require", "audiences": saml.AUDIENCE}}

    @classmethod
    def prepare(cls):
        """An identity provider, what its roles are here, and the users."""
        provider = saml.IdentityProvider()
        for role in places.ROLES:
            cls.server.command("role", "code", role, f"{role}^^{places.ROLE_SYSTEM}")
            cls.oracle.codes[role] = role
        test_xua.register(cls.server, provider)
        cls.region.identity_provider = provider
        cls.region.users = [user for facility in places.FACILITIES for user in users_of(cls.region, facility)]
        operator = next(n for n in cls.region.nodes if n.is_operator)
        cls.region.users.append(places.User("prober.operator", operator, ("physician",), is_emergency=True))

    def every(self):
        """Every probe of every user."""
        return itertools.chain.from_iterable(self.probes.documents(user) for user in self.region.users)

    def records(self):
        """Audit records in the repository, by user and transaction."""
        found = common.rows(self.server, "SELECT substring(convert_from(raw, 'UTF8') FROM 'UserID=\"(prober[.][^\"]+)\"'),"
                                         " substring(t FROM 'ITI-[0-9]+'), count(*) FROM audit_record, unnest(event_types) t"
                                         " WHERE t LIKE '%%ITI-%%' GROUP BY 1, 2")
        return collections.Counter({(user, transaction): count for user, transaction, count in found if user})

    def test_every_user_gets_exactly_what_his_roles_and_his_nodes_hospital_permit(self):
        probes = self.sample(self.every(), SHARE)
        asked = collections.Counter((p.node.name, test_prober.transaction_of(p.kind)) for p in probes)
        before = self.settled_records()
        count, permitted = self.check(probes)
        print(f"\n  {count} probes of {len(self.region.users)} users, {permitted} of them permitted", end="")
        self.assertGreaterEqual(count, 55000 * SHARE)
        self.assertGreaterEqual(permitted, 12000 * SHARE)
        after = self.settled_records()
        self.assertEqual({who: after[who] - before[who] for who in asked}, asked)

    def flips(self):
        """(what, change, undo): what the roles of assertions are, and what they may."""
        region, oracle = self.region, self.oracle

        def meaning(code, role):
            """The code is this role from now on; None: no role."""
            def change():
                common.rows(region.server, "WITH gone AS (DELETE FROM access_role_code WHERE code = %s) SELECT 1", code)
                oracle.codes.pop(code, None)
                if role:
                    region.server.command("role", "code", role, f"{code}^^{places.ROLE_SYSTEM}")
                    oracle.codes[code] = role
            return change

        def emergency(may_break_glass):
            def change():
                common.rows(region.server, "UPDATE access_role SET may_break_glass = %s WHERE name = 'physician' RETURNING name",
                            may_break_glass)
                oracle.roles["physician"].may_break_glass = may_break_glass
            return change

        yield "another role", meaning("physician", "clerk"), meaning("physician", "physician")
        yield "no role", meaning("nurse", None), meaning("nurse", "nurse")
        yield "a role", meaning(UNKNOWN, "nurse"), meaning(UNKNOWN, None)
        yield "emergency", emergency(False), emergency(True)
        yield ("withdrawal", lambda: test_prober.enroll(region, oracle, region.patients[0], False),
               lambda: test_prober.enroll(region, oracle, region.patients[0]))

    def test_what_a_role_means_changes_exactly_its_objects_and_at_once(self):
        probes = self.sample(self.every(), SHARE)
        for what, change, undo in self.flips():
            with self.subTest(what=what):
                self.unlike(probes, change, undo)

    def test_what_a_user_may_not_know_is_answered_as_what_is_not_there(self):
        kinds = collections.Counter()
        users = [u for u in self.region.users if u.name in ("prober.clerk-A", "prober.unknown-B", "prober.two-C", "prober.physician-D")]
        for user in users:
            for kind, ask, fake_ask, echoed, fake_echoed in self.sample(self.document_twins(user), SHARE):
                with self.subTest(kind=kind, user=user.name, what=echoed):
                    self.assertEqual(places.masked(ask(self.region, user)[1], *echoed),
                                     places.masked(fake_ask(self.region, user)[1], *fake_echoed))
                    kinds[kind] += 1
        self.assertGreaterEqual(len(kinds), 10, kinds)

    def retrieve_as(self, node, header, thing):
        """ITI-43 by a node, with this header."""
        message = xds.envelope(xds.ACTIONS["ITI-43"], xds.retrieve_xml([(places.harness.REPOSITORY_UID, thing.unique_id)]))
        return self.soap(node.name).post("/repository", *xds.mtom(saml.with_header(message, header), []))

    def test_an_assertion_serves_no_node_of_another_hospital(self):
        """Nor any answer without one: the endpoints demand it."""
        chance = random.Random(3)
        things = [t for t in self.region.things.values() if t.kind == "D"]
        for user in self.region.users:
            thief = next(n for n in self.region.nodes if n.facility != user.facility and n.role == "physician")
            thing = chance.choice([t for t in things if t.facility == user.facility])
            with self.subTest(user=user.name):
                owner = self.region.client(user.name)
                owner.retrieve([(places.harness.REPOSITORY_UID, thing.unique_id)])
                for header, subcode in ((owner.header, "FailedAuthentication"), ("", "SecurityTokenUnavailable")):
                    reply = self.retrieve_as(thief, header, thing)
                    self.assertEqual((reply.outcome, test_xua.subcode(reply)), ("Fault", subcode), reply.raw[:600])
