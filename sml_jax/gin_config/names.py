"""Resolves the names in gin files to Python objects, so that a misspelt one is found and the right one suggested."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gin

from sml_jax.common.errors import UserError
from sml_jax.common.suggest import did_you_mean, unknown_name
from sml_jax.gin_config.reader import Binding, Import, Macro, Ref, Unit, references
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
        missing_module = error.name or name
        # The module may be there and itself import something that is not.
        if not (name == missing_module or name.startswith(f"{missing_module}.")):
            raise UserError(
                f"{item.place}: {name} needs the module {missing_module!r}, which is not installed"
            ) from error
        if rename_sentence := renamed(name):
            raise UserError(f"{item.place}: {rename_sentence}") from error
        raise UserError(f"{item.place}: no module {name!r}{_near_modules(missing_module)}") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no message"
        raise UserError(f"{item.place}: cannot import {name}: {type(error).__name__}: {reason}") from error
    # As in Python, `import a.b` binds `a`.
    binds_module = item.statement.is_from or item.statement.alias
    return module if binds_module else importlib.import_module(name.split(".")[0])


def _near_modules(missing: str) -> str:
    """The tail of the error for a module that is not there."""
    parent, _, last_part = missing.rpartition(".")
    if not parent:
        return "; is it installed in this environment?"
    package = importlib.import_module(parent)
    # Gin imports modules alone, so a class in place of one is the likeliest slip.
    if hasattr(package, last_part):
        return (
            f"; {last_part} is no module but a name in {parent}: import {parent} and write "
            f"{parent.split('.')[-1]}.{last_part}"
        )
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
        for reference in references(binding.value):
            if isinstance(reference, Ref):
                self.resolve(reference.selector, binding.unit, binding.place)

    def used_macros(self) -> dict[str, str]:
        """The macros that values in force use.

        Returns:
          Place of one use (`file:line`) by the macro's name.
        """
        in_force = [*self.macros.values(), *self.bound.values()]
        return {m.name: b.place for b in in_force for m in references(b.value) if isinstance(m, Macro)}

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
        uses = [(reference, b) for b in in_force for reference in references(b.value) if isinstance(reference, Ref)]
        scopes = {scope_part for reference, _ in uses for scope_part in reference.scope.split("/") if scope_part}
        for scope in filter(None, override.scope.split("/")):
            if scope not in scopes:
                raise unknown_name("scope", scope, scopes, override.place)

        # The scopes in which this thing is made, and those below the override's that set the same parameter.
        full_name = self.match(override.selector, override.place).full
        used_scopes = [
            reference.scope
            for reference, b in uses
            if self.resolve(reference.selector, b.unit, b.place).full == full_name
        ]
        narrower_scopes = [
            scope
            for scope, target, parameter in self.bound
            if (target, parameter) == (full_name, override.parameter)
            and scope.startswith(f"{override.scope}/".lstrip("/"))
        ]

        # For each use, a narrower scope that hides the override there, or None.
        hiding_scopes = [
            next(
                (s for s in narrower_scopes if s and s != override.scope and f"{used_scope}/".startswith(f"{s}/")), None
            )
            for used_scope in used_scopes
        ]
        if hiding_scopes and all(hiding_scopes):
            parameter_name = f"{self.targets[full_name].written}.{override.parameter}"
            cure = " or ".join(
                f"--gin.{scope}/{parameter_name}=..." for scope in dict.fromkeys(filter(None, hiding_scopes))
            )
            raise UserError(f"{override.place}: the gin files set this by a narrower name: write {cure}")

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
            full_names = " or ".join(sorted(t.full for t in candidates))
            raise UserError(f"{place}: {selector!r} can be more than one thing; write {full_names}")
        if candidates:
            return candidates[0]
        if rename_sentence := renamed_selector(selector):
            raise UserError(f"{place}: {rename_sentence}")
        hint = ""
        if unit is not None and unit.imports:
            hint = f" (is `from __gin__ import dynamic_registration` missing at the top of {unit.path}?)"
        raise UserError(f"{unknown_name('configurable', selector, self.spellings(), place)}{hint}")

    def spellings(self) -> list[str]:
        """How gin files write the targets, such as `online.Online`; sorted."""
        return sorted({target.written for target in self.targets.values()})

    def check_given(self) -> None:
        """Checks that no value is missing. Call it after every file and override has been added.

        Raises:
          UserError: a macro has no value or stands for itself, or a `%gin.REQUIRED` was never replaced by a value.
        """
        place_by_macro = self.used_macros()
        for name, binding in self.macros.items():
            # Gin ignores a macro that nothing uses, so a value under an old name would be lost without a word.
            if name not in place_by_macro and (rename_sentence := renamed(name)):
                raise UserError(f"{binding.place}: {rename_sentence}")
        for name, place in place_by_macro.items():
            if name not in self.macros and not _is_constant(name):
                if rename_sentence := renamed(name):
                    raise UserError(f"{place}: the macro {rename_sentence}")
                suggestion = did_you_mean(name, self.macros)
                raise UserError(f"{place}: the macro %{name} has no value: add --gin.{name}=...{suggestion}")
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
        for (scope, full_name, parameter), binding in self.bound.items():
            if binding.value == REQUIRED:
                scoped_name = "/".join(filter(None, [scope, self.targets[full_name].written]))
                required[f"{scoped_name}.{parameter}"] = binding.place
        return required

    def _check_no_circle(self, name: str) -> None:
        """Raises UserError if a macro's value leads back to it."""
        # A search through the macros that its value uses, directly or through others.
        to_visit, seen = [name], {name}
        while to_visit:
            for reference in references(self.macros[to_visit.pop()].value):
                if isinstance(reference, Macro) and reference.name == name:
                    raise UserError(f"{self.macros[name].place}: the macro %{name} stands for itself: give it a value")
                if isinstance(reference, Macro) and reference.name in self.macros and reference.name not in seen:
                    seen.add(reference.name)
                    to_visit.append(reference.name)


def check_parameter(target: Target, parameter: str, place: str) -> None:
    """Checks that a configurable has a parameter.

    Args:
      target: the configurable.
      parameter: the parameter's name.
      place: where the name is written, for the error.

    Raises:
      UserError: it has none of that name; the error suggests near ones.
    """
    known_parameters = target.parameters()
    if known_parameters is not None and parameter not in known_parameters:
        if rename_sentence := renamed(f"{target.obj.__name__}.{parameter}"):
            raise UserError(f"{place}: {rename_sentence}")
        suggestion = did_you_mean(parameter, known_parameters)
        raise UserError(f"{place}: {target.written} has no parameter {parameter!r}{suggestion}")


def _look_up(selector: str, unit: Unit, place: str) -> Target:
    """Follows a dotted name from a file's imports, as gin's dynamic registration does."""
    # The first part is a name that the file imports, or gin itself.
    first_part, *other_parts = selector.split(".")
    if first_part == "gin":
        source, full_name, value = None, "gin", gin.config
    elif first_part in unit.imports:
        source = unit.imports[first_part]
        full_name = source.statement.module if source.statement.is_from or source.statement.alias else first_part
        value = load_import(source)
    else:
        if rename_sentence := renamed_selector(selector):
            raise UserError(f"{place}: {rename_sentence}")
        raise unknown_name("imported name", first_part, unit.imports, place)
    # The other parts are attributes, the last of them a class or function.
    for name in other_parts:
        if not hasattr(value, name):
            if rename_sentence := renamed(name, selector):
                raise UserError(f"{place}: {rename_sentence}")
            public_names = [n for n, v in vars(value).items() if callable(v) and not n.startswith("_")]
            raise UserError(f"{place}: {full_name} has no {name!r}{did_you_mean(name, public_names)}")
        value, full_name = getattr(value, name), f"{full_name}.{name}"
    if not callable(value):
        raise UserError(f"{place}: {selector} is not a function or class, so gin cannot configure it")
    return Target(selector, full_name, value, source)


def _is_constant(name: str) -> bool:
    """Whether gin itself knows a constant of this name."""
    try:
        gin.query_parameter(name)
    except Exception:  # whatever gin says, it has no value of that name
        return False
    return True
