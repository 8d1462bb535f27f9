"""The driver of a real GPU, watched: tests that run on `software.SoftwareDriver` run on it unchanged."""

from collections import Counter

from numbopt._devices import driver as cuda_driver


class WatchedDriver:
    """The bindings of the driver, with the attributes of `SoftwareDriver` that tests look at.

    A stream that is not in ``streams`` is not used, whether or not it exists.
    """

    is_real = True

    def __init__(self, driver):
        self._driver = driver
        self.asked = Counter()
        self.allocations = {}
        self.capacity = float("inf")
        self.streams = {0}
        self.capturing = set()
        self.ordinal_of = {}

    def __getattribute__(self, name):
        if name.startswith("cu"):
            self.asked[name] += 1
        return super().__getattribute__(name)

    def __getattr__(self, name):
        value = getattr(self._driver, name)
        if not name.startswith(("cuLaunch", "cuMemcpy", "cuMemset", "cuStream")):
            return value

        def on_known_stream(*arguments):
            stream = arguments[8 if name == "cuLaunchKernel" else -1]
            assert stream in self.streams, f"{name} on stream {stream}"
            return value(*arguments)

        return on_known_stream

    @property
    def used(self):
        """Bytes that numbopt has allocated."""
        return sum(self.allocations.values())

    def new_stream(self):
        """Return the address of a new stream."""
        error, stream = self._driver.cuStreamCreate(self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
        assert int(error) == 0
        self.streams.add(int(stream))
        return int(stream)

    def cuMemAlloc(self, size):
        if self.used + size > self.capacity:
            return self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY, 0
        error, address = self._driver.cuMemAlloc(size)
        self.allocations[int(address)] = size
        return error, address

    def cuMemFree(self, address):
        del self.allocations[address]
        return self._driver.cuMemFree(address)

    def cuPointerGetAttribute(self, attribute, address):
        error, ordinal = self._driver.cuPointerGetAttribute(attribute, address)
        return error, self.ordinal_of.get(address, ordinal)

    def cuStreamIsCapturing(self, stream):
        error, status = self._driver.cuStreamIsCapturing(stream)
        return error, int(stream in self.capturing) or status


def install(monkeypatch):
    """Let numbopt find its GPU behind a watched driver; return that, or None where there is no GPU."""
    if not cuda_driver.is_available():
        return None
    bindings, link = cuda_driver._driver_and_linker()
    driver = WatchedDriver(bindings)
    monkeypatch.setattr(cuda_driver, "_driver_and_linker", lambda: (driver, link))
    cuda_driver.device.cache_clear()
    return driver
