"""Lost audits that are nobody's fault are told from those of liars, however the liars go about it."""

from __future__ import annotations

from hypothesis import given, strategies

from workunits.domain.audits.alarm import AlarmRules, ModelAudit, find_faulty_classes

RULES = AlarmRules(audits=20, failed_share=0.1, clusters=5)


def lost(cluster: int, name: str = "arm", *, believed: bool = True) -> ModelAudit:
    return ModelAudit(cluster, name, has_failed=True, was_believed=believed)


def passed(cluster: int, name: str = "arm") -> ModelAudit:
    return ModelAudit(cluster, name, has_failed=False)


def test_a_class_in_which_nearly_everybody_loses_is_at_fault_and_no_other():
    audits = [lost(n % 7) for n in range(20)] + [passed(8)] + [passed(n, "x86") for n in range(30)]
    assert find_faulty_classes(audits, RULES) == {"arm"}


def test_a_model_that_is_judged_wrong_everywhere_is_at_fault_in_each_class():
    audits = [lost(n % 6, name) for n in range(20) for name in ("arm", "x86")]
    assert find_faulty_classes(audits, RULES) == {"arm", "x86"}


def test_liars_among_as_many_honest_clusters_are_no_fault_of_the_class():
    audits = [lost(n % 6) for n in range(30)] + [passed(10 + n) for n in range(6)]
    assert find_faulty_classes(audits, RULES) == frozenset()
    assert find_faulty_classes([*audits, lost(6)], RULES) == {"arm"}


def test_one_party_with_many_cars_is_one_cluster():
    assert find_faulty_classes([lost(1) for _ in range(200)], RULES) == frozenset()


def test_new_identities_that_were_never_believed_do_not_count():
    audits = [lost(n, believed=False) for n in range(100)] + [lost(n) for n in range(1000, 1004)]
    assert find_faulty_classes(audits, RULES) == frozenset()


def test_few_audits_and_rare_losses_say_nothing():
    assert find_faulty_classes([lost(n) for n in range(19)], RULES) == frozenset()
    last_passed = [passed(n % 5) for n in range(19)]
    assert find_faulty_classes([lost(0), *last_passed, *(lost(n) for n in range(6))], RULES) == frozenset()


audits = strategies.lists(
    strategies.builds(
        ModelAudit, strategies.integers(0, 12), strategies.sampled_from(["arm", "x86"]), strategies.booleans(),
        strategies.booleans(),
    ),
    max_size=60,
)  # fmt: skip


@given(audits, strategies.integers(1, 40), strategies.booleans())
def test_no_swarm_that_is_the_smaller_part_of_every_class_raises_an_alarm(swarm, honest, believed):
    swarm = [audit._replace(has_failed=True, was_believed=believed) for audit in swarm]
    liars = {audit.cluster_id for audit in swarm}
    fleet = [passed(100 + n, name) for n in range(max(honest, len(liars))) for name in ("arm", "x86")]
    assert find_faulty_classes([*swarm, *fleet], RULES) == frozenset()
    assert find_faulty_classes([*fleet, *swarm], RULES) == frozenset()
