"""What the system says of its free memory."""

from sml_jax.common import free_memory


def test_what_is_free(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(free_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path / "max")
    assert free_memory.free_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:   7 kB\n")
    assert free_memory.free_bytes() == 7168
    for limit, free in (("max\n", 7168), ("4096\n", 4096), ("9000000\n", 7168)):
        (tmp_path / "max").write_text(limit)
        assert free_memory.free_bytes() == free
