"""MITRE ATT&CK, Enterprise: the techniques that alerts name, in one place, of one version.

Ids and names are those of https://attack.mitre.org/techniques/ at VERSION; a test holds all detectors to them. On a new
version: change names here, and ids here and in the detectors.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "16.1"
TECHNIQUES: Final = {
    "T1020": "Automated Exfiltration",
    "T1029": "Scheduled Transfer",
    "T1030": "Data Transfer Size Limits",
    "T1036": "Masquerading",
    "T1041": "Exfiltration Over C2 Channel",
    "T1048": "Exfiltration Over Alternative Protocol",
    "T1070": "Indicator Removal",
    "T1074": "Data Staged",
    "T1078": "Valid Accounts",
    "T1078.004": "Cloud Accounts",
    "T1083": "File and Directory Discovery",
    "T1087": "Account Discovery",
    "T1090": "Proxy",
    "T1090.003": "Multi-hop Proxy",
    "T1098": "Account Manipulation",
    "T1110": "Brute Force",
    "T1110.003": "Password Spraying",
    "T1110.004": "Credential Stuffing",
    "T1119": "Automated Collection",
    "T1133": "External Remote Services",
    "T1136": "Create Account",
    "T1185": "Browser Session Hijacking",
    "T1190": "Exploit Public-Facing Application",
    "T1199": "Trusted Relationship",
    "T1213": "Data from Information Repositories",
    "T1526": "Cloud Service Discovery",
    "T1528": "Steal Application Access Token",
    "T1530": "Data from Cloud Storage",
    "T1537": "Transfer Data to Cloud Account",
    "T1539": "Steal Web Session Cookie",
    "T1550": "Use Alternate Authentication Material",
    "T1550.001": "Application Access Token",
    "T1550.004": "Web Session Cookie",
    "T1552": "Unsecured Credentials",
    "T1562": "Impair Defenses",
    "T1562.008": "Disable or Modify Cloud Logs",
    "T1567": "Exfiltration Over Web Service",
    "T1567.002": "Exfiltration to Cloud Storage",
    "T1595.003": "Wordlist Scanning",
    "T1606": "Forge Web Credentials",
    "T1606.002": "SAML Tokens",
    "T1619": "Cloud Storage Object Discovery",
}  # fmt: skip


def named(technique: str) -> str:
    """A technique with its name, as far as it is known.

    >>> named("T1078"), named("T9999")
    ('T1078 Valid Accounts', 'T9999')
    """
    return f"{technique} {TECHNIQUES.get(technique, '')}".rstrip()
