"""The contenders: one class each, all with the interface of `base.Contender`."""

from contenders.celery import Celery
from contenders.dask import Dask
from contenders.huey import Huey
from contenders.pytq import Pytq, PytqDeep
from contenders.threads import Threads
from contenders.xargs import Xargs

__all__ = ["Celery", "Dask", "Huey", "Pytq", "PytqDeep", "Threads", "Xargs"]
