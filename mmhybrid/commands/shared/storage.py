"""Arguments for the storage of a search."""

from argparse import ArgumentParser

from mmhybrid.search.storage import FILE_NAME, STUDY_NAME


def add_storage(parser: ArgumentParser, study_name: str | None = STUDY_NAME) -> None:
    """Add ``--storage`` and ``--study-name``.

    Args:
        parser: Parser of the command.
        study_name: Default of ``--study-name``; None if a config may give it.
    """
    whose = '' if study_name else "the config's, or "
    parser.add_argument('--storage', metavar='URL', help=f'a file, or a database; default: {whose}WORK_DIR/{FILE_NAME}')
    parser.add_argument(
        '--study-name', metavar='NAME', default=study_name, help='name of the search in a storage that holds several'
    )
