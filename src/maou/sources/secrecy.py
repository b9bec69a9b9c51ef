"""Keeping what SDKs say of their requests out of logs.

At the level DEBUG the SDKs log requests with their headers, and so session tokens, key
ids and signatures. Nobody needs these to be in a file that is sent around.
"""

import logging

_SDKS = ("boto3", "botocore", "google", "requests", "s3transfer", "urllib3")


def cap_sdk_logs() -> None:
    """Let the loggers of the SDKs pass on nothing below INFO, however they are set.

    Called when a client is made, after its SDK has been imported: importing may set
    levels (GOOGLE_SDK_PYTHON_LOGGING_SCOPE).
    """
    names = [
        name
        for name in logging.root.manager.loggerDict
        if name.partition(".")[0] in _SDKS
    ]
    for name in {*_SDKS, *names}:
        logger = logging.getLogger(name)
        # One without a level of its own follows its parent, which is capped as well.
        if logger.level or name in _SDKS:
            logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
