"""The API-token scopes met in the provider's lists from 2022 to 2026, classified.

The labels are the provider's. Tier, family and kind of access are this project's judgement: a policy's table
``[risk.scopes]`` says otherwise, and classifies what is not listed here. ``docs/scopes.md`` is made from this.
"""

from typing import Final, NamedTuple


class Scope(NamedTuple):
    """What is known of one scope."""

    label: str
    """The provider's words for it."""
    tier: str
    """``low``, ``medium``, ``high`` or ``critical``."""
    family: str
    """What it is about; scopes of the old kind and of today's on the same matter are one family."""
    access: str
    """``read``, ``write``, ``ingest`` or ``admin``."""


SCOPES: Final[dict[str, Scope]] = {
    "InstallerDownload": Scope("PaaS integration - Installer download", "low", "oneAgents", "read"),
    "DataExport": Scope("Access problem and event feed, metrics, and topology", "medium", "data", "read"),
    "PluginUpload": Scope("Upload Extension", "high", "extensions", "write"),
    "SupportAlert": Scope("PaaS integration - Support alert", "low", "oneAgents", "write"),
    "AdvancedSyntheticIntegration": Scope(
        "Dynatrace module integration - Synthetic Classic", "low", "synthetic", "write"
    ),
    "ExternalSyntheticIntegration": Scope(
        "Create and read synthetic monitors, locations, and nodes", "low", "synthetic", "write"
    ),
    "RumBrowserExtension": Scope("RUM Browser Extension", "low", "rum", "write"),
    "LogExport": Scope("Read logs", "medium", "logs", "read"),
    "ReadConfig": Scope("Read configuration", "low", "settings", "read"),
    "WriteConfig": Scope("Write configuration", "high", "settings", "write"),
    "DTAQLAccess": Scope("User sessions", "medium", "rum", "read"),
    "UserSessionAnonymization": Scope(
        "Anonymize user session data for data privacy reasons", "medium", "privacy", "write"
    ),
    "DataPrivacy": Scope("Change data privacy settings", "high", "privacy", "admin"),
    "CaptureRequestData": Scope("Capture request data", "medium", "traces", "write"),
    "Davis": Scope("Dynatrace module integration - Davis", "low", "problems", "read"),
    "DssFileManagement": Scope("Mobile symbolication file management", "low", "rum", "write"),
    "RumJavaScriptTagManagement": Scope("Real user monitoring JavaScript tag management", "low", "rum", "write"),
    "TenantTokenManagement": Scope("Token management", "critical", "tokens", "admin"),
    "ActiveGateCertManagement": Scope("ActiveGate certificate management", "high", "activeGates", "admin"),
    "RestRequestForwarding": Scope("Fetch data from a remote environment", "high", "data", "read"),
    "ReadSyntheticData": Scope("Read synthetic monitors, locations, and nodes", "low", "synthetic", "read"),
    "WriteSyntheticData": Scope("Write synthetic data (older lists only)", "medium", "synthetic", "write"),
    "DataImport": Scope("Data ingest, e.g.: metrics and events", "low", "data", "ingest"),
    "ViewDashboard": Scope("dashboard sharing tokens (older lists)", "low", "dashboards", "read"),
    "ViewReport": Scope("report sharing tokens (older lists)", "low", "dashboards", "read"),
    "Mobile": Scope("(older lists)", "low", "rum", "ingest"),
    "MemoryDump": Scope("(older lists)", "high", "oneAgents", "read"),
    "DiagnosticExport": Scope("(older lists)", "high", "oneAgents", "read"),
    "AppMonIntegration": Scope("(older lists)", "low", "data", "ingest"),
    "LogImport": Scope("(v1 example only)", "low", "logs", "ingest"),
    "MaintenanceWindows": Scope("(v1 example only)", "low", "settings", "write"),
    "syntheticExecutions.write": Scope("Write synthetic monitor executions", "medium", "synthetic", "write"),
    "syntheticExecutions.read": Scope("Read synthetic monitor execution results", "low", "synthetic", "read"),
    "auditLogs.read": Scope("Read audit logs", "high", "audit", "read"),
    "metrics.read": Scope("Read metrics", "low", "metrics", "read"),
    "metrics.write": Scope("Write metrics", "medium", "metrics", "write"),
    "metrics.ingest": Scope("Ingest metrics", "low", "metrics", "ingest"),
    "entities.read": Scope("Read entities", "low", "entities", "read"),
    "entities.write": Scope("Write entities", "medium", "entities", "write"),
    "problems.read": Scope("Read problems", "low", "problems", "read"),
    "problems.write": Scope("Write problems", "medium", "problems", "write"),
    "events.read": Scope("Read events", "low", "events", "read"),
    "events.ingest": Scope("Ingest events", "low", "events", "ingest"),
    "openpipeline.events": Scope("OpenPipeline - Ingest Events (Built-in)", "low", "events", "ingest"),
    "openpipeline.events.custom": Scope("OpenPipeline - Ingest Events (Custom)", "low", "events", "ingest"),
    "openpipeline.events_security": Scope(
        "OpenPipeline - Ingest Security Events (Built-in)", "low", "events", "ingest"
    ),
    "openpipeline.events_security.custom": Scope(
        "OpenPipeline - Ingest Security Events (Custom)", "low", "events", "ingest"
    ),
    "openpipeline.events_sdlc": Scope(
        "OpenPipeline - Ingest Software Development Lifecycle Events (Built-in)", "low", "events", "ingest"
    ),
    "openpipeline.events_sdlc.custom": Scope(
        "OpenPipeline - Ingest Software Development Lifecycle Events (Custom)", "low", "events", "ingest"
    ),
    "openpipeline.events_smartscape": Scope(
        "OpenPipeline - Smartscape events (newest lists)", "low", "events", "ingest"
    ),
    "bizevents.ingest": Scope("Ingest bizevents", "low", "events", "ingest"),
    "networkZones.read": Scope("Read network zones", "low", "activeGates", "read"),
    "networkZones.write": Scope("Write network zones", "medium", "activeGates", "write"),
    "activeGates.read": Scope("Read ActiveGates", "low", "activeGates", "read"),
    "activeGates.write": Scope("Write ActiveGates", "medium", "activeGates", "write"),
    "activeGateTokenManagement.read": Scope("Read ActiveGate tokens", "low", "tokens", "read"),
    "activeGateTokenManagement.create": Scope("Create ActiveGate tokens", "critical", "tokens", "admin"),
    "activeGateTokenManagement.write": Scope("Write ActiveGate tokens", "critical", "tokens", "admin"),
    "agentTokenManagement.read": Scope("Read Agent tokens", "low", "tokens", "read"),
    "credentialVault.read": Scope("Read credential vault entries", "critical", "credentials", "read"),
    "credentialVault.write": Scope("Write credential vault entries", "critical", "credentials", "admin"),
    "extensions.read": Scope("Read extensions", "low", "extensions", "read"),
    "extensions.write": Scope("Write extensions", "high", "extensions", "write"),
    "extensionConfigurations.read": Scope("Read extension monitoring configurations", "low", "extensions", "read"),
    "extensionConfigurations.write": Scope(
        "Write extension monitoring configurations", "medium", "extensions", "write"
    ),
    "extensionConfigurationActions.write": Scope(
        "Actions for extension monitoring configurations", "high", "extensions", "write"
    ),
    "extensionEnvironment.read": Scope("Read extension environment configurations", "low", "extensions", "read"),
    "extensionEnvironment.write": Scope("Write extension environment configurations", "high", "extensions", "write"),
    "extensionDiscoveryJmx.read": Scope("Read discovered JMX metrics via extensions", "low", "extensions", "read"),
    "extensionDiscoveryPmi.read": Scope("Read discovered PMI metrics via extensions", "low", "extensions", "read"),
    "attacks.read": Scope("Read attacks", "low", "security", "read"),
    "attacks.write": Scope("Write Application Protection settings", "medium", "security", "write"),
    "securityProblems.read": Scope("Read security problems", "low", "security", "read"),
    "securityProblems.write": Scope("Write security problems", "medium", "security", "write"),
    "syntheticLocations.read": Scope("Read synthetic locations", "low", "synthetic", "read"),
    "syntheticLocations.write": Scope("Write synthetic locations", "medium", "synthetic", "write"),
    "settings.read": Scope("Read settings", "low", "settings", "read"),
    "settings.write": Scope("Write settings", "high", "settings", "write"),
    "tenantTokenRotation.write": Scope("Tenant token rotation", "critical", "tokens", "admin"),
    "slo.read": Scope("Read SLO", "low", "problems", "read"),
    "slo.write": Scope("Write SLO", "medium", "problems", "write"),
    "releases.read": Scope("Read releases", "low", "problems", "read"),
    "apiTokens.read": Scope("Read API tokens", "low", "tokens", "read"),
    "apiTokens.write": Scope("Write API tokens", "critical", "tokens", "admin"),
    "openTelemetryTrace.ingest": Scope("Ingest OpenTelemetry traces", "low", "traces", "ingest"),
    "logs.read": Scope("Read logs", "medium", "logs", "read"),
    "logs.ingest": Scope("Ingest logs", "low", "logs", "ingest"),
    "geographicRegions.read": Scope("Read Geographic regions", "low", "entities", "read"),
    "oneAgents.read": Scope("Read OneAgents", "low", "oneAgents", "read"),
    "oneAgents.write": Scope("Write OneAgents", "high", "oneAgents", "admin"),
    "traces.lookup": Scope("Look up a single trace", "low", "traces", "read"),
    "unifiedAnalysis.read": Scope("Read Unified Analysis page", "low", "data", "read"),
    "hub.read": Scope("Read Hub related data", "low", "extensions", "read"),
    "hub.write": Scope("Manage metadata of Hub items", "medium", "extensions", "write"),
    "hub.install": Scope("Install and update Hub items", "high", "extensions", "admin"),
    "javaScriptMappingFiles.read": Scope("Read JavaScript mapping files", "low", "rum", "read"),
    "javaScriptMappingFiles.write": Scope("Write JavaScript mapping files", "medium", "rum", "write"),
    "rumCookieNames.read": Scope("Read RUM cookie names", "low", "rum", "read"),
    "rumManualInsertionTags.read": Scope("Read RUM manual insertion tags", "low", "rum", "read"),
    "adaptiveTrafficManagement.read": Scope(
        "Read sampling configuration for Adaptive Traffic Management", "low", "traces", "read"
    ),
    "analyzers.read": Scope("(removed again from the lists)", "low", "problems", "read"),
    "analyzers.write": Scope("(removed again from the lists)", "medium", "problems", "write"),
}
