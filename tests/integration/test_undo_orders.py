"""Links and merges of every kind on the same few patients, undone in whatever order: afterwards every query answers as before."""

import random

from conformance import client as xds
from tests.fault import consistency
from tests.harness import server as harness
from tests.integration import common

SEEDS = range(40 if common.IS_FULL else 8)
NUMBERS = ("A:{}0", "B:{}1", "A:{}2", "C:{}3")


class World:
    """Four numbers that begin as four patients, each with a document."""

    def __init__(self, server, seed):
        self.server, self.seed, self.chance = server, seed, random.Random(seed)
        self.connection = consistency.Connection(server)
        self.checker = consistency.Checker(server, 0, seed)
        self.numbers = [n.format(f"{seed}x") for n in NUMBERS]
        self.history = []  # what was done, for the message of a failure
        self.undoable = []
        self.made = 0
        self.xad_pids = []
        for number in self.numbers:
            self.send("A28", "ADT_A05", f"PID|||{consistency.cx(number)}||{number.replace(':', '')}^Y||"
                      f"19{self.chance.randint(10, 99)}0{self.chance.randint(1, 9)}11|F", "PV1||N")
            self.xad_pids.append(self.xad_pid(number))
            self.submit(number)

    def send(self, event, structure, *segments):
        """A feed that must be AA."""
        reply = self.connection.mllp.send(self.checker.message(event, structure, "EVN||20260401093000", *segments))
        assert xds.acknowledgement(reply) == "AA", (reply, self.history)

    def person(self, number):
        """ITI-9; None: unknown."""
        return self.checker.ask_pix(self.connection, number)

    def xad_pid(self, number):
        """The one XAD-PID of a number."""
        (found,) = [n for n in self.person(number) if ":" not in n]
        return found

    def submit(self, number):
        """ITI-41 of one document."""
        patient = f"{self.xad_pid(number)}^^^&{harness.AUTHORITY}&ISO"
        document = xds.Document(patient, b"x", source_patient=consistency.cx(number))
        reply = self.connection.soap.provide(xds.Submission(patient, [document]))
        assert reply.outcome == "Success", (reply.errors, self.history)

    def change(self, kinds):
        """One operation on two random numbers; notes how to undo it."""
        kind = self.chance.choice(kinds)
        one, other = self.chance.sample([n for n in self.numbers if self.person(n) is not None], 2)
        before = self.newest()
        getattr(self, kind)(one, other)
        undo = next((f"{letter}{now}" for letter, then, now in zip("ML", before, self.newest()) if now > then), None)
        self.history.append((kind, one, other, undo))
        self.undoable += [undo] if undo else []

    def newest(self):
        """The highest number of a merge, and of a link."""
        return common.rows(self.server, "SELECT coalesce((SELECT max(id) FROM patient_merge), 0),"
                           " coalesce((SELECT max(id) FROM patient_link), 0)")[0]

    def link(self, one, other):
        """A24."""
        self.send("A24", "ADT_A24", f"PID|||{consistency.cx(one)}||^", f"PID|||{consistency.cx(other)}||^")

    def unlink(self, one, other):
        """A37."""
        self.send("A37", "ADT_A37", f"PID|||{consistency.cx(one)}||^", f"PID|||{consistency.cx(other)}||^")

    def merge(self, one, _):
        """A40 of the other number of the same hospital."""
        same = [n for n in self.numbers if n[0] == one[0] and n != one and self.person(n) is not None]
        if same:
            self.send("A40", "ADT_A39", f"PID|||{consistency.cx(one)}||^", f"MRG|{consistency.cx(self.chance.choice(same))}")

    def change_number(self, one, _):
        """A47 into a number that nobody has."""
        self.made += 1
        self.numbers.append(f"{one[0]}:{self.seed}made{self.made}")
        self.send("A47", "ADT_A30", f"PID|||{consistency.cx(self.numbers[-1])}||^", f"MRG|{consistency.cx(one)}")

    def merge_xad_pids(self, one, other):
        """What an operator does with two patients that are one."""
        pair = [f"{self.xad_pid(n)}^^^&{harness.AUTHORITY}&ISO" for n in (one, other)]
        if pair[0] != pair[1]:
            self.server.command("patient", "merge", *pair)

    def undo(self, what):
        """musubi patient undo."""
        self.history.append(("undo", what))
        self.server.command("patient", "undo", what)

    def documents(self):
        """{uniqueId: [(XAD-PID asked for, patientId, sourcePatientId)]}."""
        found = {}
        for xad_pid in self.xad_pids:
            for unique_id, patient, source in self.checker.ask_registry(self.connection, xad_pid):
                found.setdefault(unique_id, []).append((xad_pid, patient, source))
        return found

    def answers(self):
        """What ITI-9 and ITI-18 say of the first four."""
        return {n: self.person(n) for n in self.numbers[:len(NUMBERS)]}, self.documents()

    def misplaced(self):
        """Documents that are not exactly where their sourcePatientId is."""
        return [(unique_id, where) for unique_id, where in self.documents().items()
                if len(where) != 1 or where[0][0] != where[0][1] or where[0][0] not in (self.person(where[0][2]) or ())]


class UndoOrders(common.ServerCase):
    """DESIGN: undo of either operation restores what every query answered before."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        consistency.configure(cls.server)
        cls.server.wait_until_refreshed()

    def play(self, seed, kinds, changes, is_shuffled):
        """Changes, then their undoing; documents are with their number at every moment."""
        world = World(self.server, seed)
        self.addCleanup(world.connection.close)
        before = world.answers()
        for _ in range(changes):
            world.change(kinds)
            self.assertEqual([], world.misplaced(), world.history)
        order = world.undoable[::-1]
        if is_shuffled:
            world.chance.shuffle(order)
        for what in order:
            world.undo(what)
            self.assertEqual([], world.misplaced(), world.history)
        self.assertEqual(before[1], world.answers()[1], world.history)
        return world, before

    def test_links_and_merges_are_undone_in_any_order(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                world, before = self.play(seed, ("link", "unlink", "merge", "merge_xad_pids"), 6, is_shuffled=True)
                self.assertEqual(before[0], world.answers()[0], world.history)
        self.assertEqual(0, self.server.command("fsck", check=False).returncode)

    def test_a_change_of_number_is_undone_with_the_new_number(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                world, before = self.play(1000 + seed, ("change_number", "link"), 3, is_shuffled=False)
                self.assertEqual(before[0], world.answers()[0], world.history)
                self.assertEqual([None] * world.made, [world.person(n) for n in world.numbers[len(NUMBERS):]], world.history)
        self.assertEqual(0, self.server.command("fsck", check=False).returncode)

    def test_documents_go_with_changed_numbers_too(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                self.play(2000 + seed, ("change_number", "link", "merge", "merge_xad_pids"), 5, is_shuffled=True)
