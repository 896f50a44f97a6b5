"""Sentry-shaped provider: what differs between two tests comes from the environment, all else is pinned here.

SITE_DATABASE  path of the SQLite file        SITE_CLIENT_ID, SITE_CLIENT_SECRET  the one confidential application
SITE_PORT      makes the cookie names its own  SITE_REDIRECT_URIS  space-separated; on 127.0.0.1 any port is allowed
SITE_USERS     JSON list of {username, password, name, email}      SITE_TOKEN_SECONDS  lifetime of access tokens
"""

import json
import os
from pathlib import Path

SECRET_KEY = "a fixed key for a site that lives as long as one test run"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "real.django_site.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "oauth2_provider",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["SITE_DATABASE"],
        # Two requests with the same refresh token wait for each other, as they would at a real provider.
        "OPTIONS": {"timeout": 10, "transaction_mode": "IMMEDIATE"},
    }
}
MIGRATION_MODULES = {"auth": None, "contenttypes": None, "sessions": None, "oauth2_provider": None}
"""Tables are created from the models: a new database at each start has no history to migrate."""
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
# Ports do not separate cookies (RFC 6265 §8.5): every site on 127.0.0.1 needs names of its own.
SESSION_COOKIE_NAME = f"site{os.environ['SITE_PORT']}_session"
CSRF_COOKIE_NAME = f"site{os.environ['SITE_PORT']}_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

OAUTH2_PROVIDER = {
    "SCOPES": {
        "org:read": "Read organizations",
        "project:read": "Read projects",
        "event:read": "Read issues and events",
        "event:write": "Change issues and events",
    },
    "DEFAULT_SCOPES": ["org:read"],
    "OAUTH2_VALIDATOR_CLASS": "real.django_site.sentry_shape.SentryShapedValidator",
    "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ["SITE_TOKEN_SECONDS"]),
    "REFRESH_TOKEN_EXPIRE_SECONDS": 90 * 86400,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "PKCE_REQUIRED": True,
    "REQUEST_APPROVAL_PROMPT": "force",
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
}

SITE_CLIENT_ID = os.environ["SITE_CLIENT_ID"]
SITE_CLIENT_SECRET = os.environ["SITE_CLIENT_SECRET"]
SITE_REDIRECT_URIS = os.environ["SITE_REDIRECT_URIS"]
SITE_USERS = json.loads(os.environ["SITE_USERS"])
