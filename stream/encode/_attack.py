"""Names of the ATT&CK techniques that detectors give as ids, as both OCSF and ECS want them: enterprise, version 17."""

from __future__ import annotations

from typing import Final

VERSION: Final = "17.0"
NAMES: Final = {
    "T1020": "Automated Exfiltration",
    "T1030": "Data Transfer Size Limits",
    "T1048": "Exfiltration Over Alternative Protocol",
    "T1078": "Valid Accounts",
    "T1078.004": "Cloud Accounts",
    "T1087": "Account Discovery",
    "T1090": "Proxy",
    "T1110": "Brute Force",
    "T1110.003": "Password Spraying",
    "T1110.004": "Credential Stuffing",
    "T1119": "Automated Collection",
    "T1190": "Exploit Public-Facing Application",
    "T1213": "Data from Information Repositories",
    "T1528": "Steal Application Access Token",
    "T1530": "Data from Cloud Storage",
    "T1539": "Steal Web Session Cookie",
    "T1550": "Use Alternate Authentication Material",
    "T1550.001": "Application Access Token",
    "T1550.004": "Web Session Cookie",
    "T1562": "Impair Defenses",
    "T1562.008": "Disable or Modify Cloud Logs",
    "T1567": "Exfiltration Over Web Service",
    "T1595": "Active Scanning",
    "T1595.003": "Wordlist Scanning",
    "T1606": "Forge Web Credentials",
    "T1606.001": "Web Cookies",
}


def name_of(technique: str) -> str:
    """The name of a technique; its id where the table has none."""
    return NAMES.get(technique, technique)


def parts(technique: str) -> tuple[str, str | None]:
    """The technique, and the sub-technique where the id names one.

    >>> parts("T1550.001"), parts("T1530")
    (('T1550', 'T1550.001'), ('T1530', None))
    """
    parent, dot, _ = technique.partition(".")
    return parent, technique if dot else None
