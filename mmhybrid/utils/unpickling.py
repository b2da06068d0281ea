"""A reader of pickles that takes no more time and memory than a file of their length may need.

Python has two, and this is built on the one in Python: that in C takes memory for as many objects as a file claims,
cannot be watched, and hashes a key that holds the same tuple twice, which holds the same tuple twice, ... without end.
"""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

# Keys and arguments in a file, those that are there in several places counted so.
MOST_LOOKED_AT = 2**20
# Of keys that are ints: larger ones may be chosen so that all have the same hash.
KEY_BITS = 60


class CountingUnpickler(pickle._Unpickler):
    """Counts what is hashed, converted or compared, and refuses a file of more than :attr:`most_looked_at` of it."""

    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    most_looked_at = MOST_LOOKED_AT
    # Of keys that are tuples and the like, of which as many as one wants have the same hash.
    most_other_keys = 2**10

    def __init__(self, file: Any, encoding: str = 'latin1', errors: str = 'strict') -> None:
        super().__init__(file, encoding=encoding, errors=errors)
        self._left = self.most_looked_at
        self._other_keys_left = self.most_other_keys

    def weight(self, item: object) -> int:
        """Number of keys or arguments that one counts as, without its contents."""
        return 1

    def is_plain_key(self, key: object) -> bool:
        """Whether no key of the kind has the hash of another by design."""
        if isinstance(key, int):
            return key.bit_length() <= KEY_BITS
        return key is None or isinstance(key, str | bytes | float)

    def _look_at(self, values: Iterable[object]) -> None:
        """Raise UnpicklingError once keys and arguments so far are more than a file has.

        Whatever hashes, converts or compares them would go through a tuple as often as it is there.
        """
        left = list(values)
        while left:
            item = left.pop()
            self._left -= self.weight(item)
            if isinstance(item, Mapping):
                left += item.values()
            elif isinstance(item, list | tuple | set | frozenset):
                left += item
            if self._left < len(left):
                most = self.most_looked_at
                raise pickle.UnpicklingError(f'more than {most} keys and arguments, or one within itself')

    def _look_at_keys(self, keys: Sequence[object]) -> None:
        self._look_at(keys)
        if any(isinstance(key, int) and key.bit_length() > KEY_BITS for key in keys):
            raise pickle.UnpicklingError('a key that is a number beyond all counts')
        self._count_others(keys)

    def _look_at_arguments(self) -> None:
        """Look at what a class or function gets, which may make keys of what is in it: a set, an ordered dict."""
        arguments = self.stack[-1]
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError('arguments that are not a tuple')
        self._look_at(self.stack[-1:])
        for items in (argument for argument in arguments if type(argument) in (list, tuple)):
            self._count_others([item for item in items if not isinstance(item, list)])
            self._count_others([item[0] for item in items if isinstance(item, list | tuple) and item])

    def _count_others(self, keys: Iterable[object]) -> None:
        self._other_keys_left -= sum(not self.is_plain_key(key) for key in keys)
        if self._other_keys_left < 0:
            most = self.most_other_keys
            raise pickle.UnpicklingError(f'more than {most} keys and arguments that are not names or counts')


def _watch(code: bytes, look: Callable[[CountingUnpickler], None]) -> None:
    """Have a reader look at what is on its stack before an operation of pickles takes it from there."""
    operate = CountingUnpickler.dispatch[code[0]]

    def watched(reader: CountingUnpickler) -> None:
        look(reader)
        operate(reader)

    CountingUnpickler.dispatch[code[0]] = watched


# one takes memory before there is anything to put into it, and what torch and today's Python write has none of them
for _code in (pickle.BYTEARRAY8, pickle.INST, pickle.OBJ):
    del CountingUnpickler.dispatch[_code[0]]
for _code in (pickle.REDUCE, pickle.NEWOBJ):
    _watch(_code, lambda reader: reader._look_at_arguments())
_watch(pickle.BUILD, lambda reader: reader._look_at(reader.stack[-1:]))
_watch(pickle.NEWOBJ_EX, lambda reader: reader._look_at(reader.stack[-2:]))
_watch(pickle.SETITEM, lambda reader: reader._look_at_keys(reader.stack[-2:-1]))
for _code in (pickle.SETITEMS, pickle.DICT):  # what is behind the mark
    _watch(_code, lambda reader: reader._look_at_keys(reader.stack[::2]))
for _code in (pickle.ADDITEMS, pickle.FROZENSET):
    _watch(_code, lambda reader: reader._look_at_keys(reader.stack))
