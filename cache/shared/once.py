"""Once, a command that refuses an option which is given twice."""

from typing import Any

import typer
from typer.core import TyperCommand


class Once(TyperCommand):
    """A command that refuses an option that is given twice, of which the first would be lost without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a first look at what is there."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in order:
            if option.param_type_name == "option" and order.count(option) > 1 and not option.multiple:
                raise typer.BadParameter("it is given twice; give it once", ctx=ctx, param_hint=option.opts[-1])
        return super().parse_args(ctx, args)
