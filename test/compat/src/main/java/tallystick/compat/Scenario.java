package tallystick.compat;

/** One part of the story: it makes its clients through the stage, which closes them afterwards, and checks as it goes. */
interface Scenario {
    void play(Stage stage) throws Exception;
}
