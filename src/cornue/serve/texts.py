"""Every word that the pages say, in English and French side by side.

Templates ask for a text by its key; a missing key is an error at the first rendering. Pages follow the reader's
language, not the server's.
"""

from __future__ import annotations

from cornue.serve.errors import Refusal

LANGUAGES = ("fr", "en")

TEXTS: dict[str, tuple[str, str]] = {
    "skip": ("Skip to the question", "Aller à la question"),
    "skip_main": ("Skip to the content", "Aller au contenu"),
    "question": ("Your question", "Votre question"),
    "ask": ("Ask", "Demander"),
    "stop": ("Stop", "Arrêter"),
    "new": ("New conversation", "Nouvelle conversation"),
    "examples": ("For example", "Par exemple"),
    "about": ("About", "À propos"),
    "record": ("Record", "Dossier"),
    "runs": ("Runs", "Entraînements"),
    "history": ("History", "Historique"),
    "conversations": ("Conversations", "Conversations"),
    "no_conversations": ("None yet.", "Aucune pour l'instant."),
    "kept_here": (
        "Conversations are kept in this browser only.",
        "Les conversations ne sont gardées que dans ce navigateur.",
    ),
    "delete": ("Delete", "Supprimer"),
    "export": ("Export", "Exporter"),
    "other_language": ("Français", "English"),
    "other_short": ("FR", "EN"),
    "purpose": ("What it is for", "À quoi il sert"),
    "limits": ("What it is not for", "À quoi il ne sert pas"),
    "no_purpose": ("Its owner has not said yet.", "Son responsable ne l'a pas encore dit."),
    "contact": ("A human who answers", "Une personne qui répond"),
    "no_contact": ("No contact has been named.", "Aucun contact n'a été indiqué."),
    "how_it_works": ("How it works", "Comment il fonctionne"),
    "works_register": (
        "A small model turns your question into a query. The query is run on a public register, read-only. The figures "
        "come from the register, never from the model; the query is shown so that you can judge it. Each question "
        "stands alone.",
        "Un petit modèle traduit votre question en requête. La requête est exécutée sur un registre public, en lecture "
        "seule. Les chiffres viennent du registre, jamais du modèle ; la requête est montrée pour que vous puissiez en "
        "juger. Chaque question est traitée seule.",
    ),
    "works_model": (
        "A small language model writes the answers on this institution's own machine. It can be wrong: check what "
        "matters.",
        "Un petit modèle de langue rédige les réponses sur la machine de l'établissement. Il peut se tromper : "
        "vérifiez ce qui compte.",
    ),
    "stays_here": (
        "Nothing you write leaves this service, and what you write is not kept.",
        "Rien de ce que vous écrivez ne quitte ce service, et ce que vous écrivez n'est pas conservé.",
    ),
    "machine": ("Written by a small model. It can be wrong.", "Rédigé par un petit modèle. Il peut se tromper."),
    "unverified": ("This model's seal does not hold:", "Le sceau de ce modèle n'est pas valable :"),
    "you": ("You", "Vous"),
    "thinking": ("Reasoning", "Raisonnement"),
    "working": ("Working and query", "Démarche et requête"),
    "query": ("Query", "Requête"),
    "rows": ("Rows found", "Lignes trouvées"),
    "one_row": ("1 row", "1 ligne"),
    "many_rows": ("{n} rows", "{n} lignes"),
    "more_rows": ("There are more rows than shown.", "Il y a plus de lignes que celles montrées."),
    "declined": (
        "The register cannot answer this question.",
        "Le registre ne permet pas de répondre à cette question.",
    ),
    "no_rows": ("The register holds no such row.", "Le registre ne contient aucune ligne de ce genre."),
    "query_failed": ("The register could not answer this query:", "Le registre n'a pas pu répondre à cette requête :"),
    "source": ("Source: public register", "Source : registre public"),
    "tokens": ("{n} tokens", "{n} jetons"),
    "seconds": ("{n} s", "{n} s"),
    "joules": ("{n} J", "{n} J"),
    "estimated": ("estimated", "estimation"),
    "measured": ("measured", "mesuré"),
    "receipt": ("Receipt", "Reçu"),
    "copy": ("Copy", "Copier"),
    "copied": ("Copied", "Copié"),
    "retry": ("Ask again", "Redemander"),
    "edit": ("Edit", "Modifier"),
    "contest": ("Contest", "Contester"),
    "contest_long": ("Contest this answer", "Contester cette réponse"),
    "contest_note": ("What is wrong with it?", "Qu'est-ce qui ne va pas ?"),
    "contest_kept": (
        "Your note, the question and the answer are then kept and read by a person.",
        "Votre note, la question et la réponse seront alors conservées et lues par une personne.",
    ),
    "contest_public": (
        "They may be shown on the record page, with the reply.",
        "Elles peuvent être montrées dans le dossier, avec la réponse.",
    ),
    "send": ("Send", "Envoyer"),
    "contest_thanks": ("Thank you. A person will read it.", "Merci. Une personne la lira."),
    "contest_follow": (
        "The reply will stand on this page; keep its address:",
        "La réponse figurera ici, gardez l'adresse :",
    ),
    "contest_waits": ("No reply yet.", "Pas encore de réponse."),
    "reply": ("Reply", "Réponse"),
    "answer": ("Answer", "Réponse"),
    "back": ("Back to the assistant", "Retour à l'assistant"),
    "writing": ("The answer is being written.", "La réponse s'écrit."),
    "stopped": ("Stopped.", "Arrêtée."),
    "done": ("The answer is complete.", "La réponse est complète."),
    "waiting": (
        "{n} requests before yours, about {s} s.",
        "{n} demandes avant la vôtre, environ {s} s.",
    ),
    "next": ("You are next.", "Vous êtes le prochain."),
    "failed": ("It did not work:", "Cela n'a pas marché :"),
    "lost": ("The connection was lost.", "La connexion est coupée."),
    "empty": ("Write a question first.", "Écrivez d'abord une question."),
    "sign_in": ("Sign in", "Se connecter"),
    "sign_out": ("Sign out", "Se déconnecter"),
    "sign_in_why": ("This assistant asks who you are.", "Cet assistant demande qui vous êtes."),
    "key": ("Access key", "Clé d'accès"),
    "key_help": ("It begins with ck_. Paste it here.", "Elle commence par ck_. Collez-la ici."),
    "sign_in_with": ("Sign in with your organisation", "Se connecter avec votre organisation"),
    "busy": ("It is busy", "Il est très demandé"),
    "not_found": ("There is nothing here", "Il n'y a rien ici"),
    "refused": ("This was refused", "Demande refusée"),
    "unavailable": ("Not available just now", "Indisponible pour l'instant"),
    "retry_in": ("Try again in {n} seconds.", "Réessayez dans {n} secondes."),
    # The record
    "record_lead": (
        "What this model is, where it comes from, what it cost, and how you can check all of it without trusting us.",
        "Ce qu'est ce modèle, d'où il vient, ce qu'il a coûté, et comment tout vérifier sans nous croire sur parole.",
    ),
    "in_short": ("In short", "En bref"),
    "name": ("Name", "Nom"),
    "language": ("Language", "Langue"),
    "licence": ("Licence", "Licence"),
    "model_digest": ("Digest of the model", "Empreinte du modèle"),
    "register_digest": ("Digest of the register", "Empreinte du registre"),
    "attribution": ("Attribution", "Attribution"),
    "seal": ("Its seal", "Son sceau"),
    "seal_holds": (
        "Every file is the one that its manifest lists. Who vouches for it is for you to decide, with keys that you "
        "trust.",
        "Chaque fichier est celui que son manifeste annonce. À vous de décider qui s'en porte garant, avec les clés en "
        "lesquelles vous avez confiance.",
    ),
    "no_pack": (
        "This model is not served from a sealed pack, so it has no record of its making.",
        "Ce modèle n'est pas servi depuis un paquet scellé : il n'a pas de dossier de fabrication.",
    ),
    "report": ("The report", "Le rapport"),
    "open_report": ("Read the report", "Lire le rapport"),
    "findings": ("What the audit says", "Ce que dit l'audit"),
    "findings_lead": (
        "This service ran the audit on its own pack. Run it yourself: the command stands below.",
        "Ce service a lancé l'audit sur son propre paquet. Refaites-le vous-même : la commande est plus bas.",
    ),
    "findings_wait": (
        "The audit of the pack is under way; look again in a few minutes.",
        "L'audit du paquet est en cours ; revenez dans quelques minutes.",
    ),
    "lineage": ("Where it comes from", "D'où il vient"),
    "ledger": ("What it cost", "Ce qu'il a coûté"),
    "ledger_lead": (
        "Each act of its making, with what it used. Figures are measured, counted, estimated or declared.",
        "Chaque acte de sa fabrication, avec ce qu'il a consommé. Les chiffres sont mesurés, comptés, estimés ou "
        "déclarés.",
    ),
    "act": ("Act", "Acte"),
    "figure": ("Figure", "Grandeur"),
    "value": ("Value", "Valeur"),
    "how": ("How known", "Comment connu"),
    "totals": ("Totals", "Totaux"),
    "contests": ("Contests and replies", "Contestations et réponses"),
    "contests_count": (
        "{n} received, {m} answered.",
        "{n} reçues, {m} avec réponse.",
    ),
    "service": ("This service", "Ce service"),
    "service_lead": (
        "Answers, and the energy they took since the service was started.",
        "Les réponses, et l'énergie qu'elles ont demandée depuis le démarrage du service.",
    ),
    "check_it": ("Check it yourself", "Vérifiez vous-même"),
    "check_pack": (
        "Take a copy of the pack to a machine without network and run:",
        "Copiez le paquet sur une machine sans réseau et lancez :",
    ),
    "check_receipt": (
        "A receipt is checked with the service's public key, without asking the service:",
        "Un reçu se vérifie avec la clé publique du service, sans rien demander au service :",
    ),
    "public_key": ("Public key of this service", "Clé publique de ce service"),
    "receipt_lead": (
        "What this answer cost, and which model gave it. It holds no word of what was asked.",
        "Ce que cette réponse a coûté, et quel modèle l'a donnée. Il ne contient aucun mot de ce qui a été demandé.",
    ),
    "receipt_signed": ("Signed and chained with the others.", "Signé et chaîné avec les autres."),
    "receipt_unsigned": (
        "Chained; it is signed within a minute.",
        "Chaîné ; il sera signé d'ici une minute.",
    ),
    "runs_lead": (
        "Past and present runs, from their own records.",
        "Les entraînements passés et en cours, d'après leurs traces.",
    ),
    "no_runs": ("There are no runs here.", "Il n'y a pas d'entraînement ici."),
    "running": ("running", "en cours"),
    "stopped_run": ("stopped; it goes on when it is run again", "arrêté ; reprend quand on le relance"),
    "finished": ("finished", "terminé"),
    "step": ("step", "pas"),
    "last_value": ("last", "dernier"),
    "is_completed": ("completed", "achevées"),
    "is_interrupted": ("interrupted", "interrompues"),
    "is_failed": ("failed", "échouées"),
    "is_refused": ("refused", "refusées"),
    "is_total": ("in all", "en tout"),
    "is_answers": ("answers", "réponses"),
    "is_idle": ("idle", "au repos"),
    "step_capture": ("The teacher was asked", "L'enseignant a été interrogé"),
    "step_verify": ("Its answers were judged", "Ses réponses ont été jugées"),
    "step_curate": ("What to learn from was chosen", "Les exemples ont été choisis"),
    "step_train": ("The student learnt", "L'élève a appris"),
    "step_evaluate": ("The student was measured", "L'élève a été évalué"),
    "files": ("{n} files", "{n} fichiers"),
    "details": ("Details", "Détails"),
    # Administration
    "admin": ("Administration", "Administration"),
    "keys": ("Access keys", "Clés d'accès"),
    "create": ("Create", "Créer"),
    "revoke": ("Revoke", "Révoquer"),
    "role": ("Role", "Rôle"),
    "days": ("Days valid", "Jours de validité"),
    "per_minute": ("Requests a minute", "Demandes par minute"),
    "per_day": ("Tokens a day", "Jetons par jour"),
    "state": ("State", "État"),
    "created_key": ("The new key, shown this once:", "La nouvelle clé, montrée cette seule fois :"),
    "used_today": ("Used in 30 days", "Utilisé en 30 jours"),
    "requests": ("requests", "demandes"),
    "open_contests": ("Contests", "Contestations"),
    "published": ("may be shown", "peut être montrée"),
    "no_contests": ("None.", "Aucune."),
}

FRENCH_NAMES = {
    "id": "numéro",
    "created": "demandé",
    "ended": "répondu",
    "place": "rang",
    "model": "modèle",
    "model_digest": "empreinte du modèle",
    "register_digest": "empreinte du registre",
    "promise": "promesse",
    "finish": "fin",
    "sampling": "tirage",
    "tokens": "jetons",
    "seconds": "secondes",
    "energy": "énergie",
    "money": "argent",
    "emissions": "émissions",
    "digests": "empreintes",
    "prompt": "question",
    "how": "comment",
    "completion": "réponse",
    "waiting": "attente",
    "first": "premier mot",
    "answering": "rédaction",
    "value": "valeur",
    "unit": "unité",
    "low": "au moins",
    "high": "au plus",
    "source": "source",
    "salt": "sel",
    "answer": "réponse",
    "reason": "raison",
    "temperature": "température",
    "max_tokens": "longueur maximale",
}

FRENCH_WORDS = {
    "verified": "vérifié",
    "not checkable": "non vérifiable",
    "valid": "valable",
    "expired": "expirée",
    "revoked": "révoquée",
    "false": "faux",
    "completed": "achevé",
    "interrupted": "interrompu",
    "failed": "échoué",
    "measured": "mesuré",
    "estimated": "estimé",
    "counted": "compté",
    "declared": "déclaré",
    "batched": "en lot",
    "replay": "rejouable",
    "energy x price of electricity": "énergie x prix de l'électricité",
    "energy x grid": "énergie x réseau",
}


# Refusals that a person may meet on a page, by their code; the API speaks English.
FRENCH_REFUSALS = {
    "no_such_route": "Cette adresse ne mène à rien.",
    "no_such_run": "Cet entraînement n'existe pas.",
    "no_report": "Il n'y a pas de rapport.",
    "invalid_json": "Ce n'est pas une question.",
    "no_api_key": "Il faut se connecter.",
    "invalid_api_key": "Cette clé n'est pas connue ici.",
    "expired_api_key": "Cette clé a expiré.",
    "revoked_api_key": "Cette clé a été révoquée.",
    "wrong_role": "Cette clé n'en donne pas le droit.",
    "foreign_origin": "Les demandes de cette page web ne sont pas admises.",
    "bad_sign_in": "L'organisme de connexion n'a pas confirmé qui vous êtes.",
    "sign_in_down": "L'organisme de connexion ne répond pas.",
    "slow_request": "La demande n'est pas arrivée à temps.",
    "request_too_large": "La demande est trop longue.",
    "exceed_context_size_error": "La question est trop longue pour ce modèle.",
    "rate_limited": "Trop de demandes en une minute.",
    "quota_used": "Le quota du jour est épuisé.",
    "too_many_waiting": "Vos demandes précédentes attendent encore.",
    "queue_full": "Chacun est servi à son tour ; {n} demandes passent avant celle-ci.",
    "waited_too_long": "L'attente est devenue trop longue.",
    "too_long": "Cette réponse a pris trop de temps.",
    "engine_busy": "Le moteur est occupé.",
    "engine_down": "Le moteur redémarre.",
    "engine_lost": "Le moteur s'est arrêté au milieu de cette réponse.",
    "engine_silent": "Le moteur n'a rien dit.",
    "record_down": "Le registre des réponses ne peut pas être tenu : rien n'est répondu.",
}


class Words:
    """The texts of one language; ``words("key", n=3)`` fills in what varies."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._place = 1 if language == "fr" else 0

    def __call__(self, key: str, **values: object) -> str:
        """The text under a key."""
        text = TEXTS[key][self._place]
        return text.format(**values) if values else text

    def told(self, refusal: Refusal) -> Refusal:
        """A refusal in the reader's language."""
        text = FRENCH_REFUSALS.get(refusal.code) if self.language == "fr" else None
        if text is None:
            return refusal
        message = text.format(n=refusal.position)
        return Refusal(
            refusal.status, message, refusal.code, refusal.param, refusal.retry_after, position=refusal.position
        )

    def word(self, value: object) -> object:
        """A value of a receipt: its few fixed words in the reader's language, all else as it stands."""
        return FRENCH_WORDS.get(str(value), value) if self.language == "fr" else value

    def name(self, field: str) -> str:
        """A field of a receipt in words."""
        plain = field.replace("_", " ")
        return FRENCH_NAMES.get(field, plain) if self.language == "fr" else plain
