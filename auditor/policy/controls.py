"""Titles of the controls that rules are mapped to.

Ids and titles were looked up by program in published machine-readable texts of the frameworks: PCI DSS as Prowler and
Steampipe carry v4.0 (the numbering of v4.0.1 was not compared), SOC 2 and NIS2 as Prowler carries them (NIS2 ids are
points of the annex to the Commission Implementing Regulation), ISO as Annex A of the standard. Long titles are cut with
``…``. That a rule serves a control is the project's judgement, not the framework's.
"""

from collections.abc import Mapping
from typing import Final

from auditor.policy.base import Framework

CONTROLS: Final[Mapping[Framework, Mapping[str, str]]] = {
    Framework.OWASP_NHI: {
        "NHI1:2025": "Improper Offboarding",
        "NHI2:2025": "Secret Leakage",
        "NHI4:2025": "Insecure Authentication",
        "NHI5:2025": "Overprivileged NHI",
        "NHI7:2025": "Long-Lived Secrets",
        "NHI8:2025": "Environment Isolation",
        "NHI9:2025": "NHI Reuse",
        "NHI10:2025": "Human Use of NHI",
    },
    Framework.NIST_800_53: {
        "AC-2": "Account Management",
        "AC-2(3)": "Disable Accounts",
        "AC-2(4)": "Automated Audit Actions",
        "AC-2(12)": "Account Monitoring for Atypical Usage",
        "AC-3": "Access Enforcement",
        "AC-5": "Separation of Duties",
        "AC-6": "Least Privilege",
        "AC-6(5)": "Privileged Accounts",
        "AC-6(7)": "Review of User Privileges",
        "AU-6": "Audit Record Review, Analysis, and Reporting",
        "AU-12": "Audit Record Generation",
        "CM-3": "Configuration Change Control",
        "CM-6": "Configuration Settings",
        "CM-8": "System Component Inventory",
        "IA-2": "Identification and Authentication (Organizational Users)",
        "IA-4": "Identifier Management",
        "IA-5": "Authenticator Management",
        "PS-4": "Personnel Termination",
        "SI-4": "System Monitoring",
    },
    Framework.ISO_27001: {
        "A.5.3": "Segregation of Duties",
        "A.5.9": "Inventory Of Information And Other Associated Assets",
        "A.5.15": "Access Control",
        "A.5.16": "Identity Management",
        "A.5.17": "Authentication Information",
        "A.5.18": "Access Rights",
        "A.6.5": "Responsibilities After Termination Or Change Of Employment",
        "A.8.2": "Privileged Access Rights",
        "A.8.5": "Secure Authentication",
        "A.8.15": "Logging",
        "A.8.16": "Monitoring Activities",
        "A.8.31": "Separation of Development, Test and Production Environments",
    },
    Framework.PCI_DSS: {
        "7.2.1": "An access control model is defined and includes granting access",
        "7.2.2": "Access is assigned to users, including privileged users",
        "7.2.3": "Required privileges are approved by authorized personnel",
        "7.2.5": "All application and system accounts and related access privileges are assigned and managed",
        "7.2.5.1": "All access by application and system accounts and related access privileges are reviewed",
        "8.2.1": "All users are assigned a unique ID before access to system components or cardholder data is allowed",
        "8.2.2": "Group, shared, or generic IDs, or other shared authentication credentials are only used when …",
        "8.2.4": "Addition, deletion, and modification of user IDs, authentication factors, and other identifier …",
        "8.2.5": "Access for terminated users is immediately revoked",
        "8.2.6": "Inactive user accounts are removed or disabled within 90 days of inactivity",
        "8.6.3": "Passwords/passphrases for any application and system accounts are protected against misuse",
        "10.2.1.5": "Audit logs capture all changes to identification and authentication credentials including, …",
        "10.4.1.1": "Automated mechanisms are used to perform audit log reviews",
        "10.4.3": "Exceptions and anomalies identified during the review process are addressed",
    },
    Framework.CIS: {
        "5.3": "Disable Dormant Accounts",
        "5.4": "Restrict Administrator Privileges to Dedicated Administrator Accounts",
        "5.5": "Establish and Maintain an Inventory of Service Accounts",
        "6.1": "Establish an Access Granting Process",
        "6.2": "Establish an Access Revoking Process",
        "6.8": "Define and Maintain Role-Based Access Control",
        "8.11": "Conduct Audit Log Reviews",
        "16.8": "Separate Production and Non-Production Systems",
    },
    Framework.SOC_2: {
        "A1.2": "The entity authorizes, designs, develops or acquires, implements, operates, approves, …",
        "CC6.1": "The entity implements logical access security software, infrastructure, and …",
        "CC6.2": "Prior to issuing system credentials and granting system access, the entity registers …",
        "CC6.3": "The entity authorizes, modifies, or removes access to data, software, functions, and …",
        "CC6.6": "The entity implements logical access security measures to protect against threats …",
        "CC7.2": "The entity monitors system components and the operation of those components for …",
        "CC7.4": "The entity responds to identified security incidents by executing a defined incident …",
        "CC8.1": "The entity authorizes, designs, develops or acquires, configures, documents, tests, …",
    },
    Framework.NIS2: {
        "3.2.3.b": "creation, modification or deletion of users of the relevant entities network and …",
        "3.2.3.c": "access to systems and applications",
        "3.2.4": "The logs shall be regularly reviewed for any unusual or unwanted trends. Where …",
        "11.1.1": "For the purpose of Article 21(2), point (i) of Directive (EU) 2022/2555, the relevant …",
        "11.2.2.a": "assign and revoke access rights based on the principles of need-to-know, least privilege …",
        "11.2.2.f": "apply logging to the management of access rights.",
        "11.2.2.e": "maintain a register of access rights granted",
        "11.3.2.c": "individualise and restrict system administration privileges to the highest extent possible",
        "11.5.2.a": "set up unique identities for network and information systems and their users",
        "11.5.2.d": "apply logging to the management of identities.",
        "11.5.4": "The relevant entities shall regularly review the identities for network and information …",
        "11.6.2.c": "require the change of authentication credentials initially, at predefined intervals and …",
    },
    Framework.DORA: {
        "Art8": "Identification",
        "Art9": "Protection and prevention",
        "Art10": "Detection",
    },
}
"""Framework → control id → title, for exactly the controls that the shipped rules name."""
