"""The arguments that say where a search is kept."""

from argparse import ArgumentParser

from mmhybrid.search.storage import FILE_NAME, STUDY_NAME


def add_storage(parser: ArgumentParser, study_name: str | None = STUDY_NAME) -> None:
    """``--storage`` and ``--study-name``.

    Args:
        parser: Of the command.
        study_name: Default of ``--study-name``; None where a config may say it.
    """
    whose = '' if study_name else "the config's, or "
    parser.add_argument('--storage', metavar='URL', help=f'a file, or a database; default: {whose}WORK_DIR/{FILE_NAME}')
    parser.add_argument('--study-name', metavar='NAME', default=study_name, help='of a storage that holds several')
