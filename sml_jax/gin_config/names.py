"""Resolves the names in gin files to Python objects, so that a misspelt one is found and the right one suggested."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gin

from sml_jax.common.errors import UserError
from sml_jax.common.suggest import did_you_mean, unknown
from sml_jax.gin_config.reader import Binding, Import, Macro, Ref, Unit, marks
from sml_jax.gin_config.renamed import renamed, renamed_selector

REQUIRED = Macro("gin.REQUIRED")


@dataclass(frozen=True)
class Target:
    """A configurable: a class or function whose parameters gin files may set.

    Attributes:
      written: how a gin file writes it, such as `online.Online`.
      full: its full dotted name, such as `sml_jax.run.stages.online.Online`.
      obj: the class or function.
      source: the import through which a file reaches it; None for gin's own configurables.
    """

    written: str
    full: str
    obj: Callable[..., Any]
    source: Import | None

    def parameters(self) -> dict[str, inspect.Parameter] | None:
        """The parameters that can be set, by name; None if it takes any name (`**kwargs`) or cannot be inspected."""
        try:
            parameters = inspect.signature(self.obj).parameters
        except (TypeError, ValueError):
            return None
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return None
        return {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def load_import(item: Import) -> Any:
    """Imports the module that a gin import statement names.

    Returns:
      What the statement binds to a name: the module, or for `import a.b` the package `a`.

    Raises:
      UserError: there is no such module, or it cannot be imported.
    """
    name = item.statement.module
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        # The module may be there and itself import something that is not.
        if not (name == missing or name.startswith(f"{missing}.")):
            raise UserError(f"{item.place}: {name} needs the module {missing!r}, which is not installed") from error
        if sentence := renamed(name):
            raise UserError(f"{item.place}: {sentence}") from error
        raise UserError(f"{item.place}: no module {name!r}{_near_modules(missing)}") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no message"
        raise UserError(f"{item.place}: cannot import {name}: {type(error).__name__}: {reason}") from error
    # As in Python, `import a.b` binds `a`.
    binds_module = item.statement.is_from or item.statement.alias
    return module if binds_module else importlib.import_module(name.split(".")[0])


def _near_modules(missing: str) -> str:
    """The tail of the error for a module that is not there."""
    parent, _, last = missing.rpartition(".")
    if not parent:
        return "; is it installed in this environment?"
    package = importlib.import_module(parent)
    # Gin imports modules alone, so a class in place of one is the likeliest slip.
    if hasattr(package, last):
        return f"; {last} is no module but a name in {parent}: import {parent} and write {parent.split('.')[-1]}.{last}"
    return did_you_mean(missing, [f"{parent}.{m.name}" for m in pkgutil.iter_modules(getattr(package, "__path__", []))])


@dataclass
class Names:
    """The configurables, bindings and macros of the gin statements read so far.

    Attributes:
      targets: the configurables that are bound or referred to, by full name.
      bound: the bindings in force, by scope, the configurable's full name, and parameter.
      macros: the bindings that define macros, by the macro's name.
    """

    targets: dict[str, Target] = field(default_factory=dict)
    bound: dict[tuple[str, str, str], Binding] = field(default_factory=dict)
    macros: dict[str, Binding] = field(default_factory=dict)

    def add(self, binding: Binding) -> None:
        """Checks one binding of a file and adds it, with the configurables that it names.

        Raises:
          UserError: the binding names a configurable, parameter or import that does not exist.
        """
        if binding.macro:
            self.macros[binding.macro] = binding
        else:
            target = self.resolve(binding.selector, binding.unit, binding.place)
            if binding.parameter != ":":
                check_parameter(target, binding.parameter, binding.place)
                self.bound[binding.scope, target.full, binding.parameter] = binding
        self.refer(binding)

    def refer(self, binding: Binding) -> None:
        """Checks the references in a binding's value, and adds what they name to the targets. The binding is not added.

        Raises:
          UserError: a reference names something that does not exist.
        """
        for mark in marks(binding.value):
            if isinstance(mark, Ref):
                self.resolve(mark.selector, binding.unit, binding.place)

    def used_macros(self) -> dict[str, str]:
        """The macros that values in force use.

        Returns:
          Place of one use (`file:line`) by the macro's name.
        """
        in_force = [*self.macros.values(), *self.bound.values()]
        return {m.name: b.place for b in in_force for m in marks(b.value) if isinstance(m, Macro)}

    def check_effect(self, override: Binding) -> None:
        """Checks that an override changes something: in gin a binding with a narrower scope wins.

        Args:
          override: already added to `bound`.

        Raises:
          UserError: the override's scope is used nowhere, or wherever the configurable is used, a narrower scope sets
            the same parameter.
        """
        # Every reference in a value in force, with the binding that holds it, says in which scopes a thing is made.
        in_force = [*self.macros.values(), *self.bound.values()]
        uses = [(mark, b) for b in in_force for mark in marks(b.value) if isinstance(mark, Ref)]
        scopes = {part for mark, _ in uses for part in mark.scope.split("/") if part}
        for scope in filter(None, override.scope.split("/")):
            if scope not in scopes:
                raise unknown("scope", scope, scopes, override.place)

        # The scopes in which this thing is made, and those below the override's that set the same parameter.
        full = self.match(override.selector, override.place).full
        used_scopes = [mark.scope for mark, b in uses if self.resolve(mark.selector, b.unit, b.place).full == full]
        narrower_scopes = [
            scope
            for scope, target, parameter in self.bound
            if (target, parameter) == (full, override.parameter) and scope.startswith(f"{override.scope}/".lstrip("/"))
        ]

        # For each use, a narrower scope that hides the override there, or None.
        hiding = [
            next(
                (s for s in narrower_scopes if s and s != override.scope and f"{used_scope}/".startswith(f"{s}/")), None
            )
            for used_scope in used_scopes
        ]
        if hiding and all(hiding):
            name = f"{self.targets[full].written}.{override.parameter}"
            better = " or ".join(f"--gin.{scope}/{name}=..." for scope in dict.fromkeys(filter(None, hiding)))
            raise UserError(f"{override.place}: the gin files set this by a narrower name: write {better}")

    def resolve(self, selector: str, unit: Unit, place: str) -> Target:
        """Finds the configurable that a file names, and adds it to the targets.

        Args:
          selector: the name, such as `online.Online`.
          unit: the file, with its imports.
          place: where the name is written, for the error.

        Raises:
          UserError: there is none, or there are several.
        """
        target = _look_up(selector, unit, place) if unit.dynamic else self.match(selector, place, unit)
        return self.targets.setdefault(target.full, target)

    def match(self, selector: str, place: str, unit: Unit | None = None) -> Target:
        """Finds a configurable among the targets.

        Args:
          selector: its name, or the last dotted parts of that.
          place: where the name is written, for the error.
          unit: the file, whose imports are mentioned in the error.

        Raises:
          UserError: there is none, or there are several.
        """
        tail = f".{selector}"
        # A name as it is written goes before one that merely ends alike.
        candidates = [t for t in self.targets.values() if tail in (f".{t.written}", f".{t.full}")] or [
            t for t in self.targets.values() if f".{t.full}".endswith(tail)
        ]
        if len(candidates) > 1:
            options = " or ".join(sorted(t.full for t in candidates))
            raise UserError(f"{place}: {selector!r} can be more than one thing; write {options}")
        if candidates:
            return candidates[0]
        if sentence := renamed_selector(selector):
            raise UserError(f"{place}: {sentence}")
        hint = ""
        if unit is not None and unit.imports:
            hint = f" (is `from __gin__ import dynamic_registration` missing at the top of {unit.path}?)"
        raise UserError(f"{unknown('configurable', selector, self.spellings(), place)}{hint}")

    def spellings(self) -> list[str]:
        """How gin files write the targets, such as `online.Online`; sorted."""
        return sorted({target.written for target in self.targets.values()})

    def check_given(self) -> None:
        """Checks that no value is missing. Call it after every file and override has been added.

        Raises:
          UserError: a macro has no value or stands for itself, or a `%gin.REQUIRED` was never replaced by a value.
        """
        used = self.used_macros()
        for name, binding in self.macros.items():
            # Gin ignores a macro that nothing uses, so a value under an old name would be lost without a word.
            if name not in used and (sentence := renamed(name)):
                raise UserError(f"{binding.place}: {sentence}")
        for name, place in used.items():
            if name not in self.macros and not _is_constant(name):
                if sentence := renamed(name):
                    raise UserError(f"{place}: the macro {sentence}")
                near = did_you_mean(name, self.macros)
                raise UserError(f"{place}: the macro %{name} has no value: add --gin.{name}=...{near}")
        for name in self.macros:
            self._check_no_circle(name)
        required = self.required()
        if required:
            places = ", ".join(dict.fromkeys(required.values()))
            flags = " ".join(f"--gin.{name}=..." for name in required)
            raise UserError(f"{places}: a value is required and was not given: add {flags}")

    def required(self) -> dict[str, str]:
        """The values that are still `%gin.REQUIRED`.

        Returns:
          Place (`file:line`) by name, as `--gin.NAME` takes it.
        """
        required = {name: binding.place for name, binding in self.macros.items() if binding.value == REQUIRED}
        for (scope, full, parameter), binding in self.bound.items():
            if binding.value == REQUIRED:
                key = "/".join(filter(None, [scope, self.targets[full].written]))
                required[f"{key}.{parameter}"] = binding.place
        return required

    def _check_no_circle(self, name: str) -> None:
        """Raises UserError if a macro's value leads back to it."""
        # A search through the macros that its value uses, directly or through others.
        waiting, seen = [name], {name}
        while waiting:
            for mark in marks(self.macros[waiting.pop()].value):
                if isinstance(mark, Macro) and mark.name == name:
                    raise UserError(f"{self.macros[name].place}: the macro %{name} stands for itself: give it a value")
                if isinstance(mark, Macro) and mark.name in self.macros and mark.name not in seen:
                    seen.add(mark.name)
                    waiting.append(mark.name)


def check_parameter(target: Target, parameter: str, place: str) -> None:
    """Checks that a configurable has a parameter.

    Args:
      target: the configurable.
      parameter: the parameter's name.
      place: where the name is written, for the error.

    Raises:
      UserError: it has none of that name; the error suggests near ones.
    """
    known = target.parameters()
    if known is not None and parameter not in known:
        if sentence := renamed(f"{target.obj.__name__}.{parameter}"):
            raise UserError(f"{place}: {sentence}")
        near = did_you_mean(parameter, known)
        raise UserError(f"{place}: {target.written} has no parameter {parameter!r}{near}")


def _look_up(selector: str, unit: Unit, place: str) -> Target:
    """Follows a dotted name from a file's imports, as gin's dynamic registration does."""
    # The first part is a name that the file imports, or gin itself.
    head, *rest = selector.split(".")
    if head == "gin":
        source, full, value = None, "gin", gin.config
    elif head in unit.imports:
        source = unit.imports[head]
        full = source.statement.module if source.statement.is_from or source.statement.alias else head
        value = load_import(source)
    else:
        if sentence := renamed_selector(selector):
            raise UserError(f"{place}: {sentence}")
        raise unknown("imported name", head, unit.imports, place)
    # The other parts are attributes, the last of them a class or function.
    for name in rest:
        if not hasattr(value, name):
            if sentence := renamed(name, selector):
                raise UserError(f"{place}: {sentence}")
            public = [n for n, v in vars(value).items() if callable(v) and not n.startswith("_")]
            raise UserError(f"{place}: {full} has no {name!r}{did_you_mean(name, public)}")
        value, full = getattr(value, name), f"{full}.{name}"
    if not callable(value):
        raise UserError(f"{place}: {selector} is not a function or class, so gin cannot configure it")
    return Target(selector, full, value, source)


def _is_constant(name: str) -> bool:
    """Whether gin itself knows a constant of this name."""
    try:
        gin.query_parameter(name)
    except Exception:  # whatever gin says, it has no value of that name
        return False
    return True
