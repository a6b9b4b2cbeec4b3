from bloomery_inference.runtime._local import LocalRuntime
from bloomery_inference.runtime._protocol import ModelRuntime
from bloomery_inference.runtime._triton import TritonRuntime
from bloomery_inference.settings import OnnxSettings, RuntimeSettings


def open_runtime(settings: RuntimeSettings) -> ModelRuntime:
    """The runtime that the settings ask for."""
    if isinstance(settings, OnnxSettings):
        return LocalRuntime(settings.threads)
    return TritonRuntime(settings.target, settings.repository)
