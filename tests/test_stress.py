"""The section cache under many threads that share chunks, give up and see chunks rewritten."""

from stress import Stress


def test_many_threads_read_give_up_and_rewrite(tmp_path):
    found = Stress(tmp_path / "v").run(actions=15)
    assert found["read"] > 100
    assert found["given up"] > 0
    assert found["rewritten"] > 0
