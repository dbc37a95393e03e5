package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;

/** Two members of one group share the queues; when one leaves, the other takes them over. */
final class SharedGroup implements Scenario {
    private static final int COUNT = 40;

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("shared");
        DefaultMQProducer producer = stage.producer("shared-producer");
        Received first = new Received();
        Received second = new Received();

        stage.check("two members of a group share the queues", () -> {
            producer.send(new Message(topic, Received.bytes("opening")));
            stage.consuming("shared-group", topic, "*", first);
            DefaultMQPushConsumer leaving = stage.consuming("shared-group", topic, "*", second);
            await("the shared work", () -> {
                send(producer, topic, "round");
                return !first.all.isEmpty() && !second.all.isEmpty();
            }, () -> first.all.size() + " and " + second.all.size());
            leaving.shutdown();
            return first.all.size() + " and " + second.all.size() + " deliveries";
        });

        stage.check("the one who stays receives everything after the other has left", () -> {
            for (int n = 0; n < COUNT; n++) producer.send(new Message(topic, Received.bytes("after-" + n)));
            await("the rest", () -> first.bodies().stream().filter(body -> body.startsWith("after-")).count() == COUNT, () -> first.bodies().toString());
            require(second.bodies().stream().noneMatch(body -> body.startsWith("after-")), "the one who left was given a message");
            return COUNT + " messages";
        });
    }

    private static void send(DefaultMQProducer producer, String topic, String body) {
        try {
            for (int n = 0; n < 4; n++) producer.send(new Message(topic, Received.bytes(body)));
        } catch (Exception problem) {
            throw new IllegalStateException(problem);
        }
    }
}
