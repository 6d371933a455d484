"""Texts of the calls: callers' lines, agents' answers, and prompts."""

from __future__ import annotations

__all__ = [
    "ANSWERS",
    "GREETING",
    "INSTRUCTIONS",
    "LINES",
    "LONG_ANSWERS",
]

INSTRUCTIONS = (
    "You are the receptionist of a small hotel on the coast. You answer on the telephone, in whole sentences and "
    "without lists. You know the rooms, the breakfast, the parking and the way from the station. If you do not know "
    "something, you say so and offer to call back."
)
GREETING = (
    "Good morning, this is the Harbour Hotel, you are speaking with the reception. I can tell you about our rooms, "
    "take a booking or change one that you have. How may I help you today?"
)
LINES = (
    "Hello, do you have a room for the weekend?",
    "How do we get there from the station?",
    "And is there a place to leave the car?",
    "What time do you serve breakfast?",
    "May we bring our dog with us?",
    "Thank you, that is all.",
)
ANSWERS = (
    "Yes, we have two rooms left for the weekend. One of them looks over the harbour and has a balcony, the other "
    "one is a little smaller and looks over the garden. Both of them have a bath, and breakfast is included.",
    "From the station you take the tram number four towards the lighthouse and leave it at the fish market. From "
    "there it is a walk of five minutes along the water, and you will see our blue house on the left hand side.",
    "There are eight places behind the house, and they are free for our guests. Please tell us the number of your "
    "car when you arrive, because the gate opens by itself once we have put the number into the computer.",
    "Breakfast is from seven until half past ten, on Sundays until eleven. It is served in the room with the large "
    "windows on the first floor, and if you leave early we are happy to pack something for the journey.",
    "Your dog is very welcome here. We ask for ten euros a night for the cleaning, and there is a bowl and a blanket "
    "in the room. Only the breakfast room is closed to animals, but you may sit on the terrace together.",
    "You are very welcome, it was a pleasure to talk to you. We will send you a message with all of the details, "
    "and we are looking forward to seeing you here on the coast. Have a good journey and goodbye for now.",
)
LONG_ANSWERS = tuple(f"{one} {other}" for one, other in zip(ANSWERS, ANSWERS[1:] + ANSWERS[:1], strict=True))

HALTING_LINES = (
    "I would like to change | the day of my arrival.",
    "It was booked for Friday, | but we come on Saturday.",
    "And we need a bed | for our small daughter.",
)
SHORT_ANSWERS = (
    "Yes, we have a room left for the weekend. It looks over the harbour and has a balcony, and breakfast is "
    "included in the price of it too.",
)

HANDBOOK = INSTRUCTIONS + "".join(
    f" Room {number} is on floor {number // 10 + 1}, has {number % 3 + 1} beds and looks over the "
    f"{'harbour' if number % 2 else 'garden'}; it costs {70 + 5 * (number % 7)} euros a night with breakfast."
    for number in range(1, 41)
)

GERMAN_INSTRUCTIONS = (
    "Sie sind die Rezeption eines kleinen Hotels an der Küste. Sie antworten am Telefon in ganzen Sätzen und ohne "
    "Aufzählungen. Sie kennen die Zimmer, die Frühstückszeiten, die Parkplätze und den Weg vom Bahnhof. Wenn Sie "
    "etwas nicht wissen, sagen Sie das und bieten einen Rückruf an."
)
GERMAN_GREETING = (
    "Guten Morgen, hier ist das Hafenhotel, Sie sprechen mit der Rezeption. Ich kann Ihnen Auskunft über unsere "
    "Zimmer geben oder eine Buchung aufnehmen. Wie darf ich Ihnen heute behilflich sein?"
)
GERMAN_LINES = (
    "Guten Tag, haben Sie am Wochenende noch ein Zimmer frei?",
    "Wie kommen wir denn vom Bahnhof zu Ihnen?",
    "Gibt es bei Ihnen auch Parkplätze?",
    "Vielen Dank, das war schon alles.",
)
GERMAN_ANSWERS = (
    "Ja, am Wochenende haben wir noch zwei Zimmer frei. Eines davon hat einen Balkon mit Blick auf den Hafen, das "
    "andere ist etwas kleiner und geht zum Garten hinaus. Das Frühstück ist bei beiden Zimmern im Preis enthalten.",
    "Vom Bahnhof nehmen Sie die Straßenbahn in Richtung Leuchtturm und steigen an der Haltestelle Fischmarkt aus. "
    "Von dort gehen Sie fünf Minuten am Wasser entlang, unser blaues Haus liegt dann auf der linken Seite.",
    "Hinter dem Haus gibt es acht Stellplätze, die für unsere Gäste kostenlos sind. Bitte nennen Sie uns bei der "
    "Anreise Ihr Kennzeichen, denn die Schranke öffnet sich erst, wenn wir es eingetragen haben.",
    "Sehr gerne, es hat uns gefreut. Wir schicken Ihnen gleich eine Bestätigung mit allen Einzelheiten und freuen "
    "uns darauf, Sie bei uns an der Küste begrüßen zu dürfen. Gute Reise und auf Wiederhören.",
)
