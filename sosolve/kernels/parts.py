"""Compiled functions that only other compiled ones call: typed and lowered once, optimised where they end up.

Numba optimises each function together with all that it calls, makes machine code of it, and does so anew for its
caller. Down a chain of seven calls most of the time goes into code that is thrown away. Here a part keeps its LLVM
module as it was lowered, linked with its own callees; the function that is called from Python optimises it all at
once. It gets no wrappers and no reference counting (its arrays belong to the caller), and a constant argument is an
integer like any other instead of a type of its own.
"""

from __future__ import annotations

import numba
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

#: Numba's options for a function that Python never calls and that allocates nothing.
BARE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}


class _NoEnvironment:
    """In place of the code generator of a part: there is no machine code whose environment could be set."""

    @staticmethod
    def set_env(name, env):
        return


class _Unoptimised(JITCodeLibrary):
    """The LLVM module of a part and its callees, not optimised, without machine code."""

    codegen = _NoEnvironment

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0


class _Pipeline(Compiler):
    """Numba's passes with that library."""

    def define_pipelines(self):
        self.state.library = _Unoptimised(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


def part(fastmath=frozenset()):
    """Return the decorator of a function that allocates nothing and is called by compiled functions alone.

    Parameters
    ----------
    fastmath : set of str, default empty
        LLVM's flags.

    Returns
    -------
    callable
    """

    def decorate(py_func):
        options = {"nogil": True, "fastmath": set(fastmath), "error_model": "numpy"}
        try:
            dispatcher = numba.njit(**options, **BARE, pipeline_class=_Pipeline)(py_func)
            template = dispatcher.get_call_template
        except (AttributeError, KeyError, TypeError):  # another version of numba: slower to compile, the same code
            return numba.njit(**options)(py_func)

        def of_plain_types(args, kws):
            plain = {name: types.unliteral(kind) for name, kind in kws.items()}
            return template(tuple(map(types.unliteral, args)), plain)

        dispatcher.get_call_template = of_plain_types
        return dispatcher

    return decorate
