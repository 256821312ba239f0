"""`recray doctor`: whether this machine can run recray, and what to do where it cannot."""

import os
from dataclasses import asdict

import typer

from recray.cli.console import Home, JsonFile, SettingsFile, console, settings_from, write_json

_MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""

    @app.command()
    def doctor(settings: SettingsFile = None, home: Home = None, json: JsonFile = None) -> None:
        """Examine this machine; exits 1 if something would keep recray from running."""
        from recray.operations.doctor import examine

        findings = examine(settings_from(settings, home), os.environ)
        for finding in findings:
            advice = f"  [dim]{finding.advice}[/]" if finding.advice else ""
            console.print(f"{_MARKS[finding.status]} {finding.name}: {finding.found}{advice}")
        write_json(json, [asdict(finding) for finding in findings])
        if any(finding.status == "fail" for finding in findings):
            raise typer.Exit(1)
