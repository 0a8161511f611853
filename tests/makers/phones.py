"""Phones of the fake adb server: what they hold, and tools that print as the real ones do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latcast.families import Variant

MARKS = [
    pytest.mark.worker,
    # adbutils leaves sockets to the garbage collector where a phone or a server goes away.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
MEASURE = Path(__file__).parents[1] / "measure"
OUTPUTS = MEASURE / "data/tools"

DUMPSYS = r"""#!/bin/sh
# The recorded output, with the temperature of now; the phone cools whenever it is looked at.
f=$ROOT/temperature
case $1 in
battery)
  read t < $f
  sed -e "s/temperature: .*/temperature: $t/" -e "s/level: .*/level: $(cat $ROOT/level)/" \
    $ROOT/battery.txt
  [ $t -gt 300 ] && echo $((t - 10)) > $f
  exit 0;;
thermalservice)
  echo "IsStatusOverride: false"
  echo "Thermal Status: $(cat $ROOT/thermal)"
  cat $ROOT/thermal.txt;;
esac
"""
GETPROP = """#!/bin/sh
case $1 in
ro.product.manufacturer) echo Example;;
ro.product.model) echo "Phone 8";;
ro.soc.model) echo SM8150;;
ro.build.version.release) echo 14;;
ro.product.cpu.abi) echo arm64-v8a;;
esac
"""
TASKSET = '#!/bin/sh\necho $1 >> $ROOT/masks\nshift\nexec "$@"\n'

# Takes a microsecond for every 64 bytes of the model, give or take 0.2 % from one call to the
# next. The lines are those of data/tools/benchmark_model-2021.txt, with other numbers.
BENCHMARK_MODEL = r"""#!/bin/sh
for word in "$@"; do
  case $word in
  --graph=*) model=${word#--graph=};;
  --profiling_output_csv_file=*) profile=${word#*=};;
  esac
done
read n < $ROOT/calls; n=$((n + 1)); echo $n > $ROOT/calls
[ -f $ROOT/heat ] && echo $(($(cat $ROOT/temperature) + $(cat $ROOT/heat))) > $ROOT/temperature
[ -f $ROOT/accident ] && . $ROOT/accident
us=$(( $(wc -c < $model) / 64 ))
us=$(( us + us * (n % 5 - 2) / 1000 + 1 ))
[ -n "$profile" ] && sed -e "s/MobilenetV1.Pred[^]]*/conv_0/" $ROOT/profile.csv > $profile
echo "STARTING!"
echo "Graph: [$model]"
echo "Loaded model $model"
echo "count=9 first=$((2 * us)) curr=$us min=$us max=$((2 * us)) avg=$us std=4065"
echo
echo "count=50 first=$us curr=$us min=$((us - 1)) max=$((us + 9)) avg=$us std=15"
echo
start="Inference timings in us: Init: 18777, First inference: $((2 * us))"
echo "$start, Warmup (avg): $us, Inference (avg): $us"
echo "Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.7227"
"""
BENCHNCNN = r"""#!/bin/sh
# Of a .param alone, in the form of data/tools/benchncnn.txt.
echo "$@" >> $ROOT/words
model=${6#param=}
echo "loop_count = $1"
echo "num_threads = $2"
ms=$(( $(wc -c < $model) / 16 + 1 ))
printf "%20s  min = %7.2f  max = %7.2f  avg = %7.2f\n" $model $ms $((ms + 1)) $ms
"""
# In the form that Android's ThermalManagerService.java prints: what it has seen, then what is now.
THERMAL = """Cached temperatures:
\tTemperature{mValue=91.0, mType=0, mName=CPU0, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=44.0, mType=1, mName=GPU0, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
"""
# Clocks and capacities of four little and four big cores.
CORES = [(1785600, 261)] * 4 + [(2419200, 869)] * 3 + [(2956800, 1024)]


def make_phone(folder: Path, *, cores=CORES, capacities: bool = True) -> Path:
    """A phone, plugged in and cool; its ``root``."""
    root = folder / "root"
    for path in ("bin", "proc", "data/local/tmp", "sys/class/thermal"):
        (root / path).mkdir(parents=True)
    for name, text in {"dumpsys": DUMPSYS, "getprop": GETPROP, "taskset": TASKSET}.items():
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    cpus = root / "sys/devices/system/cpu"
    for n, (khz, capacity) in enumerate(cores):
        (cpus / f"cpu{n}/cpufreq").mkdir(parents=True)
        (cpus / f"cpu{n}/cpufreq/cpuinfo_max_freq").write_text(f"{khz}\n")
        (cpus / f"cpu{n}/cpufreq/scaling_governor").write_text("schedutil\n")
        if capacities:
            (cpus / f"cpu{n}/cpu_capacity").write_text(f"{capacity}\n")
        if n:
            (cpus / f"cpu{n}/online").write_text("1\n")
    for n, (kind, temperature) in enumerate(
        [("cpu-0-0-usr", "42000"), ("gpu-usr", "55000"), ("battery", "30000"), ("soc", "-274000")]
    ):
        zone = root / f"sys/class/thermal/thermal_zone{n}"
        zone.mkdir()
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{temperature}\n")
    (root / "proc/meminfo").write_text("MemTotal:        7812500 kB\nMemFree: 238788 kB\n")
    (root / "thermal.txt").write_text(THERMAL)
    (root / "battery.txt").write_bytes((OUTPUTS / "battery.txt").read_bytes())
    (root / "profile.csv").write_bytes((OUTPUTS / "benchmark_model-profile.csv").read_bytes())
    for name, text in {"temperature": "326", "level": "84", "thermal": "0", "calls": "0"}.items():
        (root / name).write_text(f"{text}\n")
    (folder / "state").write_text("device")
    return root


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server whose phones are in ``folder``, and its port."""
    server = subprocess.Popen(
        [sys.executable, str(MEASURE / "fake_adb.py"), str(folder)], env={**os.environ}
    )
    port = folder / "port"
    deadline = time.monotonic() + 60
    while not port.exists():
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return server, int(port.read_text())


def small_network(resolution: int, width: int = 25) -> Variant:
    """A network that is written and pushed at once."""
    return Variant.parse(
        f"mobilenet-v1(width={width},depth=1,kernel=3,relu6=0,resolution={resolution},classes=10)"
    )
