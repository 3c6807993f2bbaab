"""The pocket maze: find the exit of a maze whose walls nobody sees, by naming rooms to go to.

The maze has ten rows of ten rooms. A room is named by two digits, its row (part 1) and its column (part 2). The student
names a room; the walker goes along its column to the row, then along the row to the column, and stops at the first
wall. The game says where it stands, and how the row and the column of that room compare with the exit's:
"got 23, part 1 is too low, part 2 is right". Where a wall is in the way the student has to go around it. A question for
a part of the exit is answered with a range, as everywhere in the pocket world.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from sml_jax.pocket import language
from sml_jax.pocket.games import GameTask, read_answer
from sml_jax.pocket.language import Parts
from sml_jax.tasks import Problem, Verdict

SIZE = 10
WALLS = 0.12  # fraction of the doors between neighbouring rooms that are walled up
MOST_MOVES = 3  # of the shortest way out: few walls stand in the way, and in some mazes none


@dataclass(frozen=True)
class Maze:
    """A maze with its start and its exit.

    Attributes:
      below: rooms (row, column) with a wall to the room below them. right: the same to the room on their right.
      start: where the walker stands first. exit: where it has to stand.
    """

    below: frozenset[Parts]
    right: frozenset[Parts]
    start: Parts
    exit: Parts

    def walk(self, room: Parts, target: Parts) -> Parts:
        """Where a walker that stands in `room` comes to a halt if it is sent to `target`."""
        (row, column), (target_row, target_column) = room, target
        while row != target_row:
            # The wall between two rooms is kept with the upper one.
            upper = min(row, row + _step(row, target_row))
            if (upper, column) in self.below:
                return row, column
            row += _step(row, target_row)
        while column != target_column:
            left = min(column, column + _step(column, target_column))
            if (row, left) in self.right:
                return row, column
            column += _step(column, target_column)
        return row, column

    def moves_needed(self, most: int) -> int | None:
        """The number of moves of the shortest way from start to exit; None if it takes more than `most`."""
        reached, newest = {self.start}, {self.start}
        for moves in range(1, most + 1):
            newest = {halt for room in newest for halt in self._halts(room)} - reached
            if self.exit in newest:
                return moves
            reached |= newest
        return None

    def _halts(self, room: Parts) -> set[Parts]:
        """All rooms in which a walker may come to a halt after one move from `room`."""
        column = room[1]
        rows = {self.walk(room, (target_row, column))[0] for target_row in (0, SIZE - 1)}
        halts = set()
        # Every row between the two walls of the column is reached, and of it what lies between its own walls.
        for reached_row in range(min(rows), max(rows) + 1):
            columns = {self.walk((reached_row, column), (reached_row, target))[1] for target in (0, SIZE - 1)}
            halts |= {(reached_row, reached) for reached in range(min(columns), max(columns) + 1)}
        return halts


def _step(position: int, target: int) -> int:
    return 1 if target > position else -1


@lru_cache(maxsize=4096)
def draw_maze(number: int) -> Maze:
    """The maze of a number, always the same one: its exit can be reached in a few moves, and is not the start."""
    rng = random.Random(f"maze {number}")
    rooms = [(row, column) for row in range(SIZE) for column in range(SIZE)]
    while True:
        below = frozenset(room for room in rooms if rng.random() < WALLS)
        right = frozenset(room for room in rooms if rng.random() < WALLS)
        maze = Maze(below, right, rng.choice(rooms), rng.choice(rooms))
        if maze.start != maze.exit and maze.moves_needed(MOST_MOVES) is not None:
            return maze


class MazeGame:
    """A walker in a maze. Implements `Game`.

    Args:
      maze: where it walks.

    Attributes:
      room: where it stands.
    """

    def __init__(self, maze: Maze):
        self.maze, self.room = maze, maze.start
        self._moved = False
        self._asked: int | None = None

    def move(self, utterance: str) -> Verdict:
        """Sends the walker to the room that the student names; see `Game`. It is correct to stand in the exit then."""
        target, self._asked = read_answer(utterance), language.asked_part(utterance)
        self._moved = target is not None
        if target is not None:
            self.room = self.maze.walk(self.room, target)
        return Verdict(self._moved and self.room == self.maze.exit, self._moved, _standing(self.room))

    def reply(self, informed: bool = True) -> str:
        """Where the walker stands and how that compares with the exit, or a hint that was asked for; see `Game`."""
        if not informed:
            return language.RETRY
        if self._asked is not None:
            return language.part_hint(self._asked, self.maze.exit[self._asked - 1])
        if not self._moved:
            return language.NO_ANSWER
        return f"{_standing(self.room)}, {language.part_feedback(self.room, self.maze.exit)}"


class PocketMaze(GameTask):
    """Mazes as a task. The problem's statement is what the game says of the first room. Arguments: see `GameTask`."""

    kind = "maze"

    def _make(self, number: int, rng: random.Random) -> Problem:
        maze = draw_maze(number)
        return Problem(
            id=f"{self.name}-{number}",
            question=f"{_standing(maze.start)}, {language.part_feedback(maze.start, maze.exit)}",
            answer=f"{maze.exit[0]}{maze.exit[1]}",
            domain=self.kind,
        )

    def begin(self, problem: Problem) -> MazeGame:
        """The problem's maze, with the walker in its first room."""
        return MazeGame(draw_maze(int(problem.id.rsplit("-", 1)[1])))


def _standing(room: Parts) -> str:
    return f"got {room[0]}{room[1]}"
