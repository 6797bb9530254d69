"""The number of connections that fit into the process's limit on open files."""

import logging
import resource
from typing import Final

logger = logging.getLogger(__name__)

# Reserved for files, pipes, modules, connections being refused or drained, and those accepted within one tick.
_RESERVED: Final = 160


def connection_limit(wanted: int, upstream: int) -> int:
    """`wanted`, or fewer if the process may not open that many files, with one more for each of `upstream` requests to
    Triton. Raises the soft limit up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + min(upstream, wanted) + _RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    fitting = wanted if soft == resource.RLIM_INFINITY else within(soft, wanted, upstream)
    if fitting < wanted:
        logger.warning(
            "MAX_CONNECTIONS is %d, but the limit of %d open files allows %d; raise it (ulimit -n, LimitNOFILE)",
            *(wanted, soft, fitting),
        )
    return fitting


def within(files: int, wanted: int, upstream: int) -> int:
    """The number of connections within a limit on open files: each request in service uses one more file."""
    free = max(0, files - _RESERVED)
    both = free - upstream if free >= 2 * upstream else free // 2
    return max(1, min(wanted, both))
