import resource
from unittest import mock

import jax
import numpy as np

from vigor_jax.train import memory

GIB = 1 << 30


def test_the_host_as_the_kernel_counts_it(monkeypatch, tmp_path):
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t 9999 kB\nVmHWM:\t 3145728 kB\nVmRSS:\t 1572864 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert memory.measure([]) == {"host_memory_gib": 1.5, "host_memory_peak_gib": 3.0}


def test_the_host_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "nowhere")
    monkeypatch.setattr(resource, "getrusage", lambda who: mock.Mock(ru_maxrss=2 << 20))
    monkeypatch.setattr(memory.sys, "platform", "linux")  # which counts in KiB
    assert memory.measure([]) == {"host_memory_peak_gib": 2.0}
    monkeypatch.setattr(memory.sys, "platform", "darwin")  # in bytes
    assert memory.measure([]) == {"host_memory_peak_gib": 2 / 1024}


def test_this_process_grows_with_what_it_holds():
    before = memory.measure()
    held = np.ones(1 << 25)  # 256 MiB
    after = memory.measure()
    assert after["host_memory_peak_gib"] >= before["host_memory_peak_gib"]
    if "host_memory_gib" in before:
        assert 0.2 < after["host_memory_gib"] - before["host_memory_gib"] < 0.3
    assert held[0] == 1
    assert not any(name.startswith("device") for name in after)  # a CPU device does not say


def test_of_several_devices_the_fullest():
    statistics = [
        {"bytes_in_use": 2 * GIB, "peak_bytes_in_use": 3 * GIB, "bytes_limit": 16 * GIB, "num_allocs": 7},
        {"bytes_in_use": 1 * GIB, "peak_bytes_in_use": 5 * GIB, "bytes_limit": 16 * GIB, "num_allocs": 7},
        None,
    ]
    devices = [mock.Mock(spec=jax.Device, memory_stats=lambda found=found: found) for found in statistics]
    found = {name: value for name, value in memory.measure(devices).items() if name.startswith("device")}
    assert found == {"device_memory_gib": 2.0, "device_memory_peak_gib": 5.0, "device_memory_limit_gib": 16.0}
    unknown = mock.Mock(side_effect=jax.errors.JaxRuntimeError("UNIMPLEMENTED: GetAllocatorStats"))
    assert set(memory.measure([mock.Mock(spec=jax.Device, memory_stats=unknown)])) == set(memory.measure([]))
    devices = [mock.Mock(spec=jax.Device, memory_stats=lambda: {"bytes_in_use": GIB})]
    assert "device_memory_peak_gib" not in memory.measure(devices)


def test_what_devices_have():
    def device(platform, **statistics):
        return mock.Mock(spec=jax.Device, platform=platform, memory_stats=lambda: statistics or None)

    found = memory.limit([device("gpu", bytes_limit=3 * GIB), device("gpu", bytes_limit=2 * GIB)])
    assert found == memory.Limit(2 * GIB, is_shared=False)
    assert memory.limit([device("tpu")]) is None


def test_cpu_devices_share_the_host_and_its_container(monkeypatch, tmp_path):
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PHYS_PAGES": 2 << 20, "SC_PAGE_SIZE": 4096}.get)
    bounds = (tmp_path / "memory.max", tmp_path / "nowhere")
    monkeypatch.setattr(memory, "_CONTAINER", bounds)
    bounds[0].write_text("max\n")
    assert memory.limit(jax.devices()[:4]) == memory.Limit(2 * GIB, is_shared=True)
    bounds[0].write_text(f"{6 * GIB}\n")
    found = memory.limit(jax.devices()[:4])
    assert found.bytes == 1.5 * GIB
    assert str(found) == "1.5 GiB (its share of this host's)"


def test_sizes_for_people():
    assert [memory.readable(size) for size in (5 << 20, 999 << 20, 1000 << 20)] == ["5 MiB", "999 MiB", "1.0 GiB"]
