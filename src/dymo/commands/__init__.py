"""What the commands of `dymo` do; `dymo.cli` reads their options."""
