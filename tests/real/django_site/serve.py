"""`python -m real.django_site.serve PORT`: create the tables, the users and the application, then serve."""

import os
import sys

import django
import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.management import call_command


def create() -> None:
    from oauth2_provider.models import Application  # noqa: PLC0415  # models load after django.setup()

    call_command("migrate", run_syncdb=True, verbosity=0)
    for user in settings.SITE_USERS:
        get_user_model().objects.create_user(
            user["username"], user.get("email") or "", user["password"], first_name=user.get("name") or ""
        )
    Application.objects.create(
        name="Vestibule",
        client_id=settings.SITE_CLIENT_ID,
        client_secret=settings.SITE_CLIENT_SECRET,
        hash_client_secret=False,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris=settings.SITE_REDIRECT_URIS,
    )


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "real.django_site.settings"
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, as everything on loopback
    django.setup()
    create()
    uvicorn.run(get_asgi_application(), host="127.0.0.1", port=int(sys.argv[1]), log_config=None, lifespan="off")
