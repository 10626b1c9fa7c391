"""Who counts as one of several processes, by the environment that each launcher leaves."""

import pytest

from vigor_jax.parallel import cluster
from vigor_jax.parallel.cluster import DistributedError, Processes, joining

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[01-02]",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_MCA_orte_hnp_uri": "1;tcp://10.0.0.1:1",
}
FLAGS = {"coordinator_address": "10.0.0.1:1234", "num_processes": 2, "process_id": 1}


@pytest.fixture
def installed(monkeypatch):
    """`(*packages) -> None`: of libtpu and mpi4py these are installed."""

    def install(*packages):
        found = lambda name: object() if name in packages else None  # noqa: E731
        monkeypatch.setattr(cluster.importlib.util, "find_spec", found)

    install()
    return install


@pytest.mark.parametrize(
    "environment",
    [
        {},
        # A shell in an interactive allocation of four tasks: one process runs, which srun did not start, or started
        # as the only one.
        {name: value for name, value in SLURM.items() if "STEP" not in name},
        SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"},
        # What is left of a job's variables in a shell by ssh.
        {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "4"},
        OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"},
        {"PMI_SIZE": "1"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        # One machine with TPUs: a notebook, a pod of GKE.
        {"TPU_PROCESS_ADDRESSES": "local"},
        {"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "1"},
    ],
)
def test_one_process_is_alone(environment, installed):
    assert joining(Processes(), environment) is None
    installed("libtpu")
    found = joining(Processes(), environment)
    assert found is None or (found.tentative and found.arguments == {})


def test_tasks_of_a_slurm_step():
    by_jax = {"cluster_detection_method": "slurm", "num_processes": 4}
    found = joining(Processes(), SLURM)
    assert (found.found, found.arguments, found.tentative) == ("Slurm", by_jax, False)


@pytest.mark.parametrize(
    ("environment", "sees_all"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, False),  # JAX takes the one of the task's number
        ({"CUDA_VISIBLE_DEVICES": "3"}, True),  # bound by the scheduler
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, True),  # alone on its node
        ({"SLURM_STEP_TASKS_PER_NODE": "1"}, True),
        ({"SLURM_STEP_TASKS_PER_NODE": "1,3"}, False),
        ({"SLURM_STEP_TASKS_PER_NODE": "11"}, False),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "JAX_LOCAL_DEVICE_IDS": "0"}, False),  # JAX reads it itself
    ],
)
def test_which_gpus_a_task_sees(environment, sees_all):
    arguments = joining(Processes(), SLURM | environment).arguments
    assert arguments.get("local_device_ids") == ([] if sees_all else None)


def test_open_mpi_that_jax_knows():
    assert joining(Processes(), OPEN_MPI).arguments == {"cluster_detection_method": "ompi", "local_device_ids": []}
    # Its launchers are tasks of Slurm, its processes are not.
    inside = joining(Processes(), SLURM | OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "16", "OMPI_COMM_WORLD_LOCAL_SIZE": "8"})
    assert inside.arguments == {"cluster_detection_method": "ompi"}


@pytest.mark.parametrize("environment", [{"OMPI_COMM_WORLD_SIZE": "2"}, {"PMI_SIZE": "2", "PMI_RANK": "0"}])
def test_other_mpi_needs_mpi4py(environment, installed):
    with pytest.raises(DistributedError, match=r"=2: MPI started several processes.* pip install mpi4py"):
        joining(Processes(), environment)
    assert joining(Processes("off"), environment) is None
    installed("mpi4py")
    assert joining(Processes(), environment).arguments == {"cluster_detection_method": "mpi4py"}


def test_slurm_sets_what_mpich_does():
    assert joining(Processes(), SLURM | {"PMI_SIZE": "4"}).found == "Slurm"


@pytest.mark.parametrize(
    "environment",
    [{"TPU_WORKER_HOSTNAMES": "a,b"}, {"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}],
)
def test_a_pod_slice_on_gke(environment):
    assert joining(Processes(), environment).arguments == {"cluster_detection_method": "gketpu"}
    assert joining(Processes(), environment | {"JAX_PLATFORMS": "cpu"}) is None


def test_a_tpu_vm_is_for_jax_to_judge(installed):
    installed("libtpu")
    assert joining(Processes(), {}).tentative
    assert joining(Processes(), {"JAX_PLATFORMS": "tpu,cpu"}).tentative
    assert joining(Processes(), {"JAX_PLATFORMS": "cpu"}) is None


def test_flags_come_before_what_is_found():
    found = joining(Processes(**FLAGS), SLURM | OPEN_MPI)
    assert found.arguments == FLAGS | {"local_device_ids": []}
    local = joining(Processes(**FLAGS | {"coordinator_address": "127.0.0.1:9"}), {})
    assert local.arguments["coordinator_bind_address"] == "127.0.0.1:9"


def test_off_looks_at_nothing_and_on_never_stays_alone():
    assert joining(Processes("off"), SLURM) is None
    forced = joining(Processes("on"), {})
    assert (forced.arguments, forced.tentative) == ({}, False)
    assert joining(Processes("on"), SLURM).found == "Slurm"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process_id": None}, "--coordinator_address=10.0.0.1:1234 --num_processes=2: --process_id must be given too"),
        ({"coordinator_address": None}, "--num_processes=2 --process_id=1: --coordinator_address must be given too"),
        (
            {"num_processes": None, "process_id": None},
            "--coordinator_address=10.0.0.1:1234: --num_processes and --process_id must be given too",
        ),
        ({"process_id": 2}, "--process_id=2: the 2 processes of --num_processes=2 are counted from 0 to 1"),
        ({"process_id": -1}, "--process_id=-1"),
        ({"num_processes": 0, "process_id": 0}, "--num_processes=0: must be at least 1"),
        ({"coordinator_address": "10.0.0.1"}, "--coordinator_address=10.0.0.1: expected HOST:PORT"),
        ({"coordinator_address": "host:http"}, "expected HOST:PORT"),
        ({"coordinator_address": "host:70000"}, "expected HOST:PORT"),
        ({"mode": "off"}, "--distributed=off trains in one process"),
    ],
)
def test_flags_that_cannot_work(changes, message):
    with pytest.raises(DistributedError) as caught:
        joining(Processes(**FLAGS | changes), {})
    assert message in str(caught.value)
